//! A final "no": its stable code, the stage that said it, and a reason that a human can act on.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// The step of a request's way that said no, in the order in which they come.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "each is named after the step it stands for")]
pub enum Stage {
    Decode,
    Resolve,
    Validate,
    Adapt,
    Represent,
    Batch,
    Predict,
    Decide,
    Encode,
}

impl Stage {
    /// The name in replies, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Resolve => "resolve",
            Stage::Validate => "validate",
            Stage::Adapt => "adapt",
            Stage::Represent => "represent",
            Stage::Batch => "batch",
            Stage::Predict => "predict",
            Stage::Decide => "decide",
            Stage::Encode => "encode",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request was rejected. A closed set; part of the wire contract.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "each is the code it prints; the README's table explains them"
)]
pub enum Code {
    MalformedMessage,
    UnsupportedMediaType,
    RequestTooLarge,
    UnknownPackage,
    UnknownVersion,
    InvalidRequest,
    Unrepresentable,
    /// `package:<code>`: the package's own, declared in its manifest.
    Package {
        code: Cow<'static, str>,
        retryable: bool,
    },
    DeadlineExceeded,
    Overloaded,
    ResultTooLarge,
    DependencyFault,
    ModelFault,
    InternalFault,
}

impl Code {
    /// The code as it stands in replies: `invalid_request`, `package:blank_image` …
    #[must_use]
    pub fn as_str(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Code::MalformedMessage => "malformed_message",
            Code::UnsupportedMediaType => "unsupported_media_type",
            Code::RequestTooLarge => "request_too_large",
            Code::UnknownPackage => "unknown_package",
            Code::UnknownVersion => "unknown_version",
            Code::InvalidRequest => "invalid_request",
            Code::Unrepresentable => "unrepresentable",
            Code::Package { code, .. } => return Cow::Owned(format!("package:{code}")),
            Code::DeadlineExceeded => "deadline_exceeded",
            Code::Overloaded => "overloaded",
            Code::ResultTooLarge => "result_too_large",
            Code::DependencyFault => "dependency_fault",
            Code::ModelFault => "model_fault",
            Code::InternalFault => "internal_fault",
        })
    }

    /// The HTTP status that RFC 9457 asks for in `status`.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Code::MalformedMessage => 400,
            Code::UnsupportedMediaType => 415,
            Code::RequestTooLarge => 413,
            Code::UnknownPackage | Code::UnknownVersion => 404,
            Code::InvalidRequest | Code::Unrepresentable | Code::Package { .. } => 422,
            Code::DeadlineExceeded => 504,
            Code::Overloaded | Code::DependencyFault => 503,
            Code::ResultTooLarge | Code::ModelFault | Code::InternalFault => 500,
        }
    }

    /// Whether sending the same request again, later, may be answered otherwise.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Code::DeadlineExceeded
            | Code::Overloaded
            | Code::DependencyFault
            | Code::InternalFault => true,
            Code::Package { retryable, .. } => *retryable,
            Code::MalformedMessage
            | Code::UnsupportedMediaType
            | Code::RequestTooLarge
            | Code::UnknownPackage
            | Code::UnknownVersion
            | Code::InvalidRequest
            | Code::Unrepresentable
            | Code::ResultTooLarge
            | Code::ModelFault => false,
        }
    }

    /// RFC 9457 `title`: the same for every rejection with this code.
    #[must_use]
    pub fn title(&self) -> &'static str {
        match self {
            Code::MalformedMessage => "The message could not be read",
            Code::UnsupportedMediaType => "The content type is not supported",
            Code::RequestTooLarge => "The request is too large",
            Code::UnknownPackage => "No such package",
            Code::UnknownVersion => "No such version of the package",
            Code::InvalidRequest => "The request does not match the package's schema",
            Code::Unrepresentable => "The request cannot be turned into the model's input",
            Code::Package { .. } => "The package refused the request",
            Code::DeadlineExceeded => "The deadline has passed",
            Code::Overloaded => "Too much work is waiting",
            Code::ResultTooLarge => "The result is too large for a reply",
            Code::DependencyFault => "Something the package depends on is not available",
            Code::ModelFault => "The model failed on this request",
            Code::InternalFault => "The worker failed on this request",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str())
    }
}

/// One fault in the request, located.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Located {
    /// JSON pointer (RFC 6901) into the business object; empty for the whole of it.
    pub pointer: String,
    /// What is wrong there. Goes to the requester only: it may say what was expected, never a value.
    pub detail: String,
}

/// A final "no" to the requester.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Stable, for machines.
    pub code: Code,
    /// Which step said it.
    pub stage: Stage,
    /// For humans: what was found, what was expected, how to mend it. Nothing internal.
    pub detail: String,
    /// The places in the request that are at fault, where there are such.
    pub errors: Vec<Located>,
}

impl Rejection {
    /// A rejection without located errors.
    pub fn new(code: Code, stage: Stage, detail: impl Into<String>) -> Self {
        Rejection {
            code,
            stage,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// The same, with one place at fault.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(Located {
            pointer: pointer.into(),
            detail: detail.into(),
        });
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.code, self.stage, self.detail)
    }
}
