//! The reply: an outcome or a rejection, ready to be published.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use crate::message::{
    codec,
    media::Encoding,
    problem::Problem,
    rejection::{Code, Rejection, Stage},
    request::{Head, TRACEPARENT, TRACESTATE},
    timings::Timings,
};

/// Header with the package's name.
pub const PACKAGE: &str = "inferq-package";
/// Header with the package's version.
pub const VERSION: &str = "inferq-version";
/// Header with the duration of each step.
pub const SERVER_TIMING: &str = "server-timing";

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The package's result.
    Outcome,
    /// A final "no".
    Rejection,
}

impl Kind {
    /// The AMQP property `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Outcome => "outcome",
            Kind::Rejection => "rejection",
        }
    }
}

/// The request that is being answered, and what is known of it by then.
#[derive(Clone, Copy, Debug)]
pub struct Answering<'a> {
    /// The request's properties.
    pub head: &'a Head<'a>,
    /// [`Head::reply_id`].
    pub reply_id: &'a str,
    /// The package that was asked, by whatever name.
    pub package: Option<&'a str>,
    /// The version that answers, if the request got that far.
    pub version: Option<&'a str>,
    /// How long each step took.
    pub timings: &'a Timings,
    /// Most bytes of the reply's body.
    pub reply_bytes: usize,
}

/// A reply, in the contract's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// AMQP `type`.
    pub kind: Kind,
    /// AMQP `content_type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
    /// AMQP `message_id`: the same for every reply to the same request.
    pub message_id: String,
    /// AMQP `correlation_id`: the request's, else its `message_id`.
    pub correlation_id: Option<String>,
    /// Headers, all of them text.
    pub headers: Vec<(Cow<'static, str>, String)>,
}

impl Reply {
    /// The package's result.
    ///
    /// # Errors
    /// `result_too_large`: to be replied with [`Reply::rejection`].
    pub fn outcome(answering: &Answering<'_>, outcome: &Value) -> Result<Reply, Rejection> {
        let encoding = answering.head.reply_encoding();
        let body = outcome_body(outcome, encoding, answering.reply_bytes)?;
        Ok(Reply::new(
            answering,
            Kind::Outcome,
            encoding.of_outcome(),
            body,
        ))
    }

    /// A final "no". Never fails; lists no places at fault where they do not fit into the reply's limit.
    #[must_use]
    pub fn rejection(answering: &Answering<'_>, rejection: &Rejection) -> Reply {
        let encoding = answering.head.reply_encoding();
        let mut problem = Problem::new(
            rejection,
            answering.head.message_id,
            answering.package,
            answering.version,
        );
        // A struct of texts and numbers always encodes.
        let mut body = codec::write(&problem, encoding).unwrap_or_default();
        if body.len() > answering.reply_bytes {
            problem.errors.clear();
            body = codec::write(&problem, encoding).unwrap_or_default();
        }
        Reply::new(answering, Kind::Rejection, encoding.of_rejection(), body)
    }

    fn new(
        answering: &Answering<'_>,
        kind: Kind,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Reply {
        let mut headers = Vec::with_capacity(5);
        let mut header = |name, value: Option<&str>| {
            headers.extend(value.map(|value| (Cow::Borrowed(name), value.to_owned())));
        };
        header(PACKAGE, answering.package);
        header(VERSION, answering.version);
        let timings = answering.timings.header();
        header(
            SERVER_TIMING,
            Some(timings.as_str()).filter(|t| !t.is_empty()),
        );
        if let Some((parent, state)) = answering.head.trace() {
            header(TRACEPARENT, Some(parent));
            header(TRACESTATE, state);
        }
        Reply {
            kind,
            content_type,
            body: body.into(),
            message_id: answering.reply_id.to_owned(),
            correlation_id: answering.head.reply_correlation().map(str::to_owned),
            headers,
        }
    }
}

/// An outcome as a reply carries it, at most `reply_bytes` long.
///
/// # Errors
/// `result_too_large`.
pub fn outcome_body(
    outcome: &Value,
    encoding: Encoding,
    reply_bytes: usize,
) -> Result<Vec<u8>, Rejection> {
    let body = codec::encode(outcome, encoding)?;
    if body.len() > reply_bytes {
        return Err(Rejection::new(
            Code::ResultTooLarge,
            Stage::Encode,
            format!(
                "the result has {} bytes, a reply of this package at most {reply_bytes}; ask for less, or have the package's owner raise limits.reply_bytes",
                body.len(),
            ),
        ));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn with<R>(head: &Head<'_>, reply_bytes: usize, f: impl FnOnce(&Answering<'_>) -> R) -> R {
        let timings = Timings {
            decode: Some(Duration::from_millis(1)),
            ..Timings::default()
        };
        f(&Answering {
            head,
            reply_id: "0123",
            package: Some("digits"),
            version: Some("1.0.0"),
            timings: &timings,
            reply_bytes,
        })
    }

    #[test]
    fn an_outcome_is_the_packages_own_result_and_nothing_else() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let head = Head {
            correlation_id: Some("c"),
            message_id: Some("m"),
            traceparent: Some(parent),
            ..Head::default()
        };
        let reply = with(&head, 100, |a| Reply::outcome(a, &json!({"digit": 7}))).unwrap();
        assert_eq!(reply.kind.as_str(), "outcome");
        assert_eq!(reply.content_type, "application/json");
        assert_eq!(&reply.body[..], br#"{"digit":7}"#);
        assert_eq!(reply.message_id, "0123");
        assert_eq!(reply.correlation_id.as_deref(), Some("c"));
        assert_eq!(
            reply.headers,
            [
                (PACKAGE.into(), "digits".to_owned()),
                (VERSION.into(), "1.0.0".to_owned()),
                (SERVER_TIMING.into(), "decode;dur=1.000".to_owned()),
                (TRACEPARENT.into(), parent.to_owned()),
            ]
        );
    }

    #[test]
    fn a_reply_correlates_by_message_id_where_there_is_no_correlation_id() {
        let head = Head {
            message_id: Some("m"),
            ..Head::default()
        };
        let reply = with(&head, 100, |a| Reply::outcome(a, &json!(1))).unwrap();
        assert_eq!(reply.correlation_id.as_deref(), Some("m"));
        let reply = with(&Head::default(), 100, |a| Reply::outcome(a, &json!(1))).unwrap();
        assert_eq!(reply.correlation_id, None);
    }

    #[test]
    fn msgpack_requesters_read_msgpack_whatever_the_answer() {
        let head = Head {
            content_type: Some("application/x-msgpack"),
            message_id: Some("m"),
            ..Head::default()
        };
        let outcome = with(&head, 100, |a| Reply::outcome(a, &json!({"a": 1}))).unwrap();
        assert_eq!(outcome.content_type, "application/vnd.msgpack");
        assert_eq!(&outcome.body[..], b"\x81\xa1a\x01");
        let no = Rejection::new(Code::Overloaded, Stage::Batch, "too much");
        let reply = with(&head, 1000, |a| Reply::rejection(a, &no));
        assert_eq!(reply.kind.as_str(), "rejection");
        assert_eq!(reply.content_type, "application/vnd.msgpack");
        let problem = Problem::read(Some(reply.content_type), &reply.body).unwrap();
        assert_eq!(
            (problem.code.as_str(), problem.instance.as_deref()),
            ("overloaded", Some("m"))
        );
    }

    #[test]
    fn a_result_over_the_limit_is_too_large() {
        let value = json!("x".repeat(99));
        let no = with(&Head::default(), 100, |a| Reply::outcome(a, &value)).unwrap_err();
        assert_eq!((no.code, no.stage), (Code::ResultTooLarge, Stage::Encode));
        assert!(no.detail.contains("101") && no.detail.contains("100"));
        assert!(with(&Head::default(), 101, |a| Reply::outcome(a, &value)).is_ok());
    }

    #[test]
    fn a_rejection_over_the_limit_keeps_its_reason_and_drops_its_places() {
        let no = Rejection::new(Code::InvalidRequest, Stage::Validate, "wrong")
            .at("/a".repeat(500), "x");
        let reply = with(&Head::default(), 600, |a| Reply::rejection(a, &no));
        assert_eq!(reply.content_type, "application/problem+json");
        let problem = Problem::read(Some(reply.content_type), &reply.body).unwrap();
        assert_eq!(problem.detail, "wrong");
        assert!(problem.errors.is_empty());
    }
}
