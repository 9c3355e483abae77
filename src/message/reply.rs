//! Replies: an outcome, or a rejection as RFC 9457 problem details.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    codec::Encoding,
    rejection::{Code, Located, Rejection, Stage},
};

/// Whether a reply carries a decision or a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A business decision.
    Outcome,
    /// A final no.
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

/// A reply's body and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Property `type`.
    pub kind: Kind,
    /// Property `content_type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// An outcome, written as the requester wants it.
    ///
    /// # Errors
    /// `result_too_large` beyond `limit` bytes.
    pub fn outcome(outcome: &Value, encoding: Encoding, limit: usize) -> Result<Reply, Rejection> {
        let body = encoding.write(outcome);
        if body.len() > limit {
            let detail = format!(
                "the result has {} bytes, this package may answer with {limit}; ask about less at once",
                body.len()
            );
            return Err(Rejection::new(Code::ResultTooLarge, Stage::Encode, detail));
        }
        let content_type = match encoding {
            Encoding::Json => "application/json",
            Encoding::MessagePack => "application/vnd.msgpack",
        };
        Ok(Reply {
            kind: Kind::Outcome,
            content_type,
            body: body.into(),
        })
    }

    /// A rejection, written as the requester wants it.
    #[must_use]
    pub fn rejection(problem: &Problem, encoding: Encoding) -> Reply {
        // A struct of strings and numbers always serialises.
        let problem = serde_json::to_value(problem).unwrap_or_default();
        let content_type = match encoding {
            Encoding::Json => "application/problem+json",
            Encoding::MessagePack => "application/vnd.msgpack",
        };
        Reply {
            kind: Kind::Rejection,
            content_type,
            body: encoding.write(&problem).into(),
        }
    }
}

/// Every [`Code`], as a pattern.
const CODES: &str = "^(malformed_message|unsupported_media_type|request_too_large|unknown_package|unknown_version|\
    invalid_request|unrepresentable|package:.+|deadline_exceeded|overloaded|result_too_large|dependency_fault|\
    model_fault|internal_fault)$";

/// A rejection as it stands in a reply: RFC 9457 problem details with inferq's members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:inferq:rejection:<code>`.
    #[schemars(regex(pattern = r"^urn:inferq:rejection:"))]
    pub r#type: String,
    /// The same for every rejection with this code.
    pub title: String,
    /// The HTTP status that fits best.
    pub status: u16,
    /// What was found, what was expected, how to mend it.
    pub detail: String,
    /// The request's message id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub instance: Option<String>,
    /// Stable, for machines. A closed set, but for `package:<code>`, which the package declares.
    #[schemars(regex(pattern = CODES))]
    pub code: String,
    /// The step that said no.
    pub stage: Stage,
    /// Whether the same request may be answered otherwise later.
    pub retryable: bool,
    /// The package that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub package: Option<String>,
    /// The version that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub version: Option<String>,
    /// The places at fault, where there are such.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Located>,
}

impl Problem {
    /// A rejection with what is known of the request.
    #[must_use]
    pub fn new(
        rejection: &Rejection,
        package: Option<&str>,
        version: Option<&str>,
        instance: Option<&str>,
    ) -> Problem {
        let code = &rejection.code;
        Problem {
            r#type: format!("urn:inferq:rejection:{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: rejection.detail.clone(),
            instance: instance.map(str::to_owned),
            code: code.as_str().into_owned(),
            stage: rejection.stage,
            retryable: code.retryable(),
            package: package.map(str::to_owned),
            version: version.map(str::to_owned),
            errors: rejection.errors.clone(),
        }
    }
}
