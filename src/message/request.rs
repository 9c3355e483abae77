//! A request's head: what the contract reads from AMQP properties and headers.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::message::{
    media::{ContentType, Encoding},
    rejection::{Code, Rejection, Stage},
};

/// Header with the deadline, Unix time in ms.
pub const DEADLINE: &str = "inferq-deadline";
/// Header that pins a version of the package.
pub const VERSION: &str = "inferq-version";
/// Header that asks for another content type of the reply.
pub const ACCEPT: &str = "inferq-accept";
/// Header of a dead letter that is a request again: when it died, Unix time in ms. Another death, another request.
pub const REPLAYED: &str = "inferq-replayed";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context.
pub const TRACESTATE: &str = "tracestate";

/// A header's value, as far as the contract has a use for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeaderValue<'a> {
    /// Text (UTF-8).
    Text(&'a str),
    /// An integer of any width.
    Int(i64),
    /// A floating-point number of any width.
    Float(f64),
    /// A timestamp: Unix time in seconds.
    Time(u64),
    /// Any other type.
    Other,
}

/// The properties and headers that the contract names. The default is a message without any.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "named as AMQP and the contract name them")]
pub struct Head<'a> {
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    pub reply_to: Option<&'a str>,
    pub correlation_id: Option<&'a str>,
    pub message_id: Option<&'a str>,
    /// Milliseconds, as text.
    pub expiration: Option<&'a str>,
    /// Unix time in seconds.
    pub timestamp: Option<u64>,
    pub priority: Option<u8>,
    /// Header [`DEADLINE`].
    pub deadline: Option<HeaderValue<'a>>,
    /// Header [`VERSION`].
    pub version: Option<HeaderValue<'a>>,
    /// Header [`ACCEPT`].
    pub accept: Option<&'a str>,
    /// Header [`REPLAYED`].
    pub replayed: Option<i64>,
    /// Header [`TRACEPARENT`].
    pub traceparent: Option<&'a str>,
    /// Header [`TRACESTATE`].
    pub tracestate: Option<&'a str>,
}

impl<'a> Head<'a> {
    /// The version that the requester insists on. A whole number counts as its digits.
    ///
    /// # Errors
    /// `malformed_message` where the header is neither text nor a whole number.
    pub fn version_pin(&self) -> Result<Option<Cow<'a, str>>, Rejection> {
        match self.version {
            None => Ok(None),
            Some(HeaderValue::Text(version)) => Ok(Some(Cow::Borrowed(version))),
            Some(HeaderValue::Int(version)) => Ok(Some(Cow::Owned(version.to_string()))),
            Some(HeaderValue::Float(_) | HeaderValue::Time(_) | HeaderValue::Other) => {
                Err(Rejection::new(
                    Code::MalformedMessage,
                    Stage::Decode,
                    format!(
                        "the header {VERSION} is not text; expected a version such as \"1.0.0\""
                    ),
                ))
            }
        }
    }

    /// How the reply is written: as [`ACCEPT`] asks, else as the request is, else JSON.
    #[must_use]
    pub fn reply_encoding(&self) -> Encoding {
        let accepted = self.accept.and_then(Encoding::accepted);
        accepted.unwrap_or_else(|| {
            ContentType::parse(self.content_type)
                .map_or(Encoding::Json, ContentType::reply_encoding)
        })
    }

    /// What the reply's `correlation_id` is: the request's, else its `message_id`.
    #[must_use]
    pub fn reply_correlation(&self) -> Option<&'a str> {
        self.correlation_id.or(self.message_id)
    }

    /// `traceparent` and `tracestate` as they may be passed on: nothing where the first is not well-formed,
    /// as W3C Trace Context §3.3 says.
    #[must_use]
    pub fn trace(&self) -> Option<(&'a str, Option<&'a str>)> {
        let parent = self.traceparent.filter(|parent| is_traceparent(parent))?;
        let printable = |state: &&str| {
            !state.is_empty()
                && state.len() <= 512
                && state.bytes().all(|b| (b' '..=b'~').contains(&b))
        };
        Some((parent, self.tracestate.filter(printable)))
    }

    /// The `message_id` of every reply to this request: 128 bits of SHA-256, in hex.
    ///
    /// Made from what survives the retry and dead-letter hops: `routing_key` is the key that the producer
    /// published with (queues differ from hop to hop). A request is told from another by its ids, its
    /// body, what changes the answer or where it goes, and whether it was replayed; two that agree in all of that
    /// are duplicates.
    #[must_use]
    pub fn reply_id(&self, routing_key: &str, body: &[u8]) -> String {
        let version = self.version_pin().ok().flatten();
        let replayed = self.replayed.map(|died_at| died_at.to_string());
        // Together: a digest takes many small parts slowly.
        let mut parts = Vec::with_capacity(256);
        for part in [
            Some(routing_key),
            self.message_id,
            self.correlation_id,
            self.content_type,
            self.content_encoding,
            self.reply_to,
            self.accept,
            version.as_deref(),
            replayed.as_deref(),
        ] {
            // A length before each part: else ("ab", "c") and ("a", "bc") would be the same request.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            parts.extend_from_slice(&length.to_le_bytes());
            parts.extend_from_slice(part.unwrap_or_default().as_bytes());
        }
        let digest = Sha256::new_with_prefix(parts).chain_update(body).finalize();
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
        let half = digest.iter().take(16);
        let mut id = String::with_capacity(32);
        id.extend(half.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        id
    }
}

/// W3C Trace Context §3.2: `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero, versions above 00 may be longer.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    let mut parts = text.splitn(5, '-');
    let (Some(version), Some(trace), Some(span), Some(flags), rest) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return false;
    };
    hex(version, 2)
        && version != "ff"
        && (rest.is_none() || version != "00")
        && rest.is_none_or(|rest| rest.len() <= 200 && rest.bytes().all(|b| b.is_ascii_graphic()))
        && hex(trace, 32)
        && !zero(trace)
        && hex(span, 16)
        && !zero(span)
        && hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_pinned_by_text_or_a_whole_number() {
        let pin = |version| {
            Head {
                version,
                ..Head::default()
            }
            .version_pin()
        };
        assert_eq!(pin(None), Ok(None));
        assert_eq!(pin(Some(HeaderValue::Text("1.0"))), Ok(Some("1.0".into())));
        assert_eq!(pin(Some(HeaderValue::Int(2))), Ok(Some("2".into())));
        for garbage in [HeaderValue::Float(1.0), HeaderValue::Other] {
            let rejection = pin(Some(garbage)).unwrap_err();
            assert_eq!(rejection.code, Code::MalformedMessage);
            assert!(rejection.detail.contains(VERSION));
        }
    }

    #[test]
    fn replies_are_written_as_accepted_else_as_the_request_is() {
        for (content_type, accept, expected) in [
            (None, None, Encoding::Json),
            (Some("application/msgpack"), None, Encoding::MessagePack),
            (Some("image/png"), None, Encoding::Json),
            (
                Some("image/png"),
                Some("application/vnd.msgpack"),
                Encoding::MessagePack,
            ),
            (
                Some("application/msgpack"),
                Some("application/json"),
                Encoding::Json,
            ),
            (
                Some("application/msgpack"),
                Some("text/html"),
                Encoding::MessagePack,
            ),
            (Some("text/plain"), None, Encoding::Json),
        ] {
            let head = Head {
                content_type,
                accept,
                ..Head::default()
            };
            assert_eq!(
                head.reply_encoding(),
                expected,
                "{content_type:?} {accept:?}"
            );
        }
    }

    #[test]
    fn only_a_well_formed_trace_is_passed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = |traceparent, tracestate| {
            Head {
                traceparent,
                tracestate,
                ..Head::default()
            }
            .trace()
        };
        assert_eq!(trace(Some(good), None), Some((good, None)));
        assert_eq!(trace(Some(good), Some("a=b")), Some((good, Some("a=b"))));
        assert_eq!(trace(Some(good), Some("a=\u{7f}")), Some((good, None)));
        assert_eq!(trace(None, Some("a=b")), None);
        let newer = format!("01{}-x", &good[2..]);
        assert!(trace(Some(&newer), None).is_some());
        for bad in [
            "",
            "00",
            "garbage",
            &good.to_uppercase(),
            &format!("{good}-x"),
            &format!("ff{}", &good[2..]),
            &good.replace("b7ad6b7169203331", "0000000000000000"),
            &good[..54],
        ] {
            assert_eq!(trace(Some(bad), None), None, "{bad}");
        }
    }

    #[test]
    fn the_replys_id_is_the_same_for_the_same_request_and_no_other() {
        let head = Head {
            message_id: Some("m"),
            correlation_id: Some("c"),
            ..Head::default()
        };
        let id = head.reply_id("digits", b"{}");
        assert_eq!(id.len(), 32);
        assert_eq!(id, head.reply_id("digits", b"{}"));
        // What a retry or a dead-letter hop changes is no part of it.
        let hopped = Head {
            expiration: Some("5"),
            timestamp: Some(1),
            priority: Some(3),
            deadline: Some(HeaderValue::Int(9)),
            ..head
        };
        assert_eq!(id, hopped.reply_id("digits", b"{}"));
        let others = [
            head.reply_id("fraud", b"{}"),
            head.reply_id("digits", b"[]"),
            Head {
                message_id: Some("n"),
                ..head
            }
            .reply_id("digits", b"{}"),
            Head {
                message_id: Some("mc"),
                correlation_id: None,
                ..head
            }
            .reply_id("digits", b"{}"),
            Head {
                message_id: None,
                correlation_id: Some("mc"),
                ..head
            }
            .reply_id("digits", b"{}"),
            Head {
                message_id: Some("mc"),
                correlation_id: Some(""),
                ..head
            }
            .reply_id("digits", b"{}"),
            Head {
                reply_to: Some("q"),
                ..head
            }
            .reply_id("digits", b"{}"),
            Head {
                version: Some(HeaderValue::Text("1")),
                ..head
            }
            .reply_id("digits", b"{}"),
            Head {
                content_type: Some("image/png"),
                ..head
            }
            .reply_id("digits", b"{}"),
        ];
        let distinct: std::collections::HashSet<_> = others.iter().chain([&id]).collect();
        assert_eq!(distinct.len(), others.len() + 1);
    }
}
