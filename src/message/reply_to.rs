//! Where a reply goes, and where it must not.

use base64::{Engine, engine::general_purpose::STANDARD};

/// What the names of direct reply-to begin with.
const DIRECT: &str = "amq.rabbitmq.reply-to";

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyTo<'a> {
    /// A queue of this name; publish with `mandatory`.
    Queue(&'a str),
    /// Direct reply-to; never `mandatory`, brokers up to 4.1 return such messages though the requester lives.
    Direct(&'a str),
}

impl<'a> ReplyTo<'a> {
    /// The routing key on the default exchange.
    #[must_use]
    pub fn routing_key(self) -> &'a str {
        match self {
            ReplyTo::Queue(name) | ReplyTo::Direct(name) => name,
        }
    }

    /// Whether an unroutable reply is to come back.
    #[must_use]
    pub fn mandatory(self) -> bool {
        match self {
            ReplyTo::Queue(_) => true,
            ReplyTo::Direct(_) => false,
        }
    }
}

/// Why a request cannot be replied to; the message goes to the dead letters with [`NoReply::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// Neither the request nor its package names a queue.
    #[error("neither reply_to nor the package's default_reply_to is set")]
    Absent,
    /// One of inferq's own queues: it must not write for producers where they may not.
    #[error("reply_to names one of inferq's own queues")]
    Forbidden,
    /// Direct reply-to, but not as a broker writes it.
    #[error(
        "reply_to is no address that the broker made for direct reply-to; consume from amq.rabbitmq.reply-to on the channel that publishes"
    )]
    Malformed,
    /// Longer than the 255 bytes of a queue's name.
    #[error("reply_to is longer than 255 bytes")]
    TooLong,
}

impl NoReply {
    /// The reason as it stands in dead letters and metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            NoReply::Absent => "no_reply_to",
            NoReply::Forbidden => "reply_to_forbidden",
            NoReply::Malformed => "reply_to_malformed",
            NoReply::TooLong => "reply_to_too_long",
        }
    }
}

/// Whether a queue of this name is inferq's own.
#[must_use]
pub fn is_own(queue: &str) -> bool {
    queue == "inferq" || queue.starts_with("inferq.")
}

/// Finds where the reply goes: the request's `reply_to`, else the package's default. Empty counts as absent.
///
/// # Errors
/// There is none, or inferq must not write there.
pub fn reply_to<'a>(
    requested: Option<&'a str>,
    package_default: Option<&'a str>,
) -> Result<ReplyTo<'a>, NoReply> {
    let given = |name: &&str| !name.is_empty();
    let name = requested
        .filter(given)
        .or_else(|| package_default.filter(given))
        .ok_or(NoReply::Absent)?;
    if name.len() > 255 {
        return Err(NoReply::TooLong);
    }
    if is_own(name) {
        return Err(NoReply::Forbidden);
    }
    match name.strip_prefix(DIRECT) {
        Some(address) if address.is_empty() || address.starts_with('.') => {
            let ours = is_address(address);
            ours.then_some(ReplyTo::Direct(name))
                .ok_or(NoReply::Malformed)
        }
        _ => Ok(ReplyTo::Queue(name)),
    }
}

/// Whether a broker may have made it: `.<process>.<key>`, in Base64. RabbitMQ 3.10 closes the connection that
/// publishes to one whose process is not, with a crash of its own.
fn is_address(address: &str) -> bool {
    let parts: Vec<&str> = address.split('.').collect();
    match parts.as_slice() {
        ["", process, key] => {
            !key.is_empty()
                && STANDARD
                    .decode(process)
                    .is_ok_and(|process| !process.is_empty())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_go_where_the_request_says_else_where_the_package_says() {
        assert_eq!(reply_to(Some("a"), Some("b")), Ok(ReplyTo::Queue("a")));
        assert_eq!(reply_to(None, Some("b")), Ok(ReplyTo::Queue("b")));
        assert_eq!(reply_to(Some(""), Some("b")), Ok(ReplyTo::Queue("b")));
        assert_eq!(reply_to(Some(""), None), Err(NoReply::Absent));
        assert_eq!(reply_to(None, None), Err(NoReply::Absent));
        assert_eq!(
            reply_to(Some("amq.gen-x"), None),
            Ok(ReplyTo::Queue("amq.gen-x"))
        );
    }

    #[test]
    fn direct_reply_to_is_never_mandatory() {
        let name = "amq.rabbitmq.reply-to.g2dkAA==.x9+/==";
        let to = reply_to(Some(name), None).unwrap();
        assert_eq!(to, ReplyTo::Direct(name));
        assert!(!to.mandatory());
        assert!(
            reply_to(Some("amq.rabbitmq.reply-to-x"), None)
                .unwrap()
                .mandatory()
        );
    }

    #[test]
    fn what_no_broker_wrote_is_no_address_for_a_direct_reply() {
        for address in [
            "",
            ".",
            ".x.y",
            ".g2dk",
            ".g2dk.",
            ".g2dk.a.b",
            "..a",
            ".g2d.a",
        ] {
            let name = format!("amq.rabbitmq.reply-to{address}");
            assert_eq!(
                reply_to(Some(&name), None),
                Err(NoReply::Malformed),
                "{name}"
            );
        }
    }

    #[test]
    fn no_reply_goes_into_a_queue_of_inferqs_own() {
        for name in ["inferq", "inferq.", "inferq.digits", "inferq.dead"] {
            assert_eq!(
                reply_to(Some(name), None),
                Err(NoReply::Forbidden),
                "{name}"
            );
            assert_eq!(
                reply_to(None, Some(name)),
                Err(NoReply::Forbidden),
                "{name}"
            );
        }
        assert!(reply_to(Some("inferqx"), None).is_ok());
        assert!(reply_to(Some(&"é".repeat(127)), None).is_ok());
        assert_eq!(
            reply_to(Some(&"x".repeat(256)), None),
            Err(NoReply::TooLong)
        );
    }
}
