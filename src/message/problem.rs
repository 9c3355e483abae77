//! A rejection as it travels: an RFC 9457 problem.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::message::{
    media::ContentType,
    rejection::{Located, Rejection, Stage},
};

/// Most places at fault that one reply lists: a wrong array has thousands.
const MAX_ERRORS: usize = 32;

/// Every code of the contract, as a pattern.
const CODES: &str = "^(malformed_message|unsupported_media_type|request_too_large|unknown_package|unknown_version|\
    invalid_request|unrepresentable|package:.+|deadline_exceeded|overloaded|result_too_large|dependency_fault|\
    model_fault|internal_fault)$";

/// A final "no" to a requester (RFC 9457). The same map in JSON and in MessagePack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(title = "inferq rejection")]
pub struct Problem {
    /// `urn:inferq:rejection:<code>`.
    #[schemars(regex(pattern = r"^urn:inferq:rejection:"))]
    pub r#type: String,
    /// A sentence for the code: the same for every rejection with it.
    pub title: String,
    /// The HTTP status that comes closest.
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
    /// What was found, what was expected, how to mend it. For humans.
    pub detail: String,
    /// The request's `message_id`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub instance: Option<String>,
    /// For machines: one of the contract's codes, or `package:<code>` for the package's own.
    #[schemars(regex(pattern = CODES))]
    pub code: String,
    /// The step that said no.
    pub stage: Stage,
    /// Whether the same request may be answered otherwise, later.
    pub retryable: bool,
    /// The package that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub package: Option<String>,
    /// The version of the package, where the request got that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub version: Option<String>,
    /// The places in the request that are at fault, where there are such; the first 32 of them.
    #[serde(default)]
    pub errors: Vec<Located>,
}

impl Problem {
    /// What `rejection` says, about the request `instance` to `package`.
    #[must_use]
    pub fn new(
        rejection: &Rejection,
        instance: Option<&str>,
        package: Option<&str>,
        version: Option<&str>,
    ) -> Self {
        Problem {
            r#type: format!("urn:inferq:rejection:{}", rejection.code),
            title: rejection.code.title().to_owned(),
            status: rejection.code.status(),
            detail: rejection.detail.clone(),
            instance: instance.map(str::to_owned),
            code: rejection.code.to_string(),
            stage: rejection.stage,
            retryable: rejection.code.retryable(),
            package: package.map(str::to_owned),
            version: version.map(str::to_owned),
            errors: rejection.errors.iter().take(MAX_ERRORS).cloned().collect(),
        }
    }

    /// Reads a rejection's body back, as a requester does.
    ///
    /// # Errors
    /// The body is no problem; says where it fails.
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Problem, String> {
        match ContentType::parse(content_type) {
            Ok(ContentType::MessagePack) => {
                rmp_serde::from_slice(body).map_err(|error| error.to_string())
            }
            // `application/problem+json` is none of a request's types.
            Ok(_) | Err(_) => serde_json::from_slice(body).map_err(|error| error.to_string()),
        }
    }
}

/// JSON Schema (2020-12) of a rejection's body.
#[must_use]
pub fn problem_schema() -> Value {
    schemars::schema_for!(Problem).to_value()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::message::{codec::write, media::Encoding, rejection::Code};

    fn rejection() -> Rejection {
        let code = Code::Package {
            code: Cow::Borrowed("blank_image"),
            retryable: true,
        };
        Rejection::new(code, Stage::Represent, "the picture is blank")
            .at("/picture", "expected ink")
    }

    #[test]
    fn a_rejection_is_a_problem_in_both_encodings_and_is_read_back() {
        let problem = Problem::new(&rejection(), Some("m-1"), Some("digits"), Some("1.0.0"));
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let body = write(&problem, encoding).unwrap();
            assert_eq!(
                Problem::read(Some(encoding.of_rejection()), &body).as_ref(),
                Ok(&problem)
            );
        }
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            serde_json::json!({
                "type": "urn:inferq:rejection:package:blank_image",
                "title": "The package refused the request",
                "status": 422,
                "detail": "the picture is blank",
                "instance": "m-1",
                "code": "package:blank_image",
                "stage": "represent",
                "retryable": true,
                "package": "digits",
                "version": "1.0.0",
                "errors": [{"pointer": "/picture", "detail": "expected ink"}],
            })
        );
    }

    #[test]
    fn every_problem_obeys_its_schema() {
        let schema = jsonschema::validator_for(&problem_schema()).unwrap();
        for problem in [
            Problem::new(&rejection(), Some("m"), Some("p"), Some("1")),
            Problem::new(&rejection(), None, None, None),
        ] {
            assert!(schema.is_valid(&serde_json::to_value(&problem).unwrap()));
        }
        assert!(!schema.is_valid(&serde_json::json!({"code": "x"})));
    }

    #[test]
    fn a_wrong_array_does_not_list_thousands_of_places() {
        let mut rejection = rejection();
        for i in 0..5000 {
            rejection = rejection.at(format!("/{i}"), "expected a number");
        }
        assert_eq!(
            Problem::new(&rejection, None, None, None).errors.len(),
            MAX_ERRORS
        );
    }
}
