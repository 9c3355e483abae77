//! A reply as a client read it, held against the contract.

use std::path::Path;

use inferq::message::problem::Problem;
use serde_json::Value;

use super::{case::Case, packages};

/// Stage or stages, status and whether to try again, as the contract's table of codes has them.
const CODES: [(&str, &[&str], u64, bool); 14] = [
    ("malformed_message", &["decode"], 400, false),
    ("unsupported_media_type", &["decode"], 415, false),
    ("request_too_large", &["decode", "represent"], 413, false),
    ("unknown_package", &["resolve"], 404, false),
    ("unknown_version", &["resolve"], 404, false),
    ("invalid_request", &["validate"], 422, false),
    ("unrepresentable", &["adapt", "represent"], 422, false),
    ("package:image_too_small", &["represent"], 422, false),
    ("package:blank_image", &["represent"], 422, false),
    (
        "deadline_exceeded",
        &["decode", "resolve", "batch"],
        504,
        true,
    ),
    ("overloaded", &["resolve", "batch"], 503, true),
    ("result_too_large", &["encode"], 500, false),
    ("model_fault", &["predict", "decide"], 500, false),
    ("internal_fault", &["decode"], 500, true),
];

const HEADERS: [&str; 5] = [
    "inferq-package",
    "inferq-version",
    "server-timing",
    "traceparent",
    "tracestate",
];

/// One line of `contract.py`.
#[derive(Clone, Debug)]
pub(super) struct Reply(pub(super) Value);

impl Reply {
    /// Everything about this reply that is not as the contract says.
    pub(super) fn faults(&self, case: &Case) -> Vec<String> {
        let mut faults = self.envelope(case);
        let object = &self.0["object"];
        if self.0["type"] == "outcome" {
            faults.extend(self.outcome(case));
        } else {
            faults.extend(self.rejection(case));
        }
        let found = match object.get("code") {
            Some(code) => code.as_str().unwrap_or_default(),
            None => self.0["type"].as_str().unwrap_or_default(),
        };
        if found != case.expected {
            faults.push(format!("{found}, not {}: {object}", case.expected));
        }
        let name = &case.name;
        faults
            .iter()
            .map(|fault| format!("{name}: {fault}"))
            .collect()
    }

    fn envelope(&self, case: &Case) -> Vec<String> {
        let (reply, headers) = (&self.0, &self.0["headers"]);
        let unresolved = ["unknown_package", "unknown_version"].contains(&case.expected);
        let pin = &case.wire["properties"]["headers"]["inferq-version"];
        let resolved = !unresolved && (pin.is_null() || pin.is_string());
        let id = case
            .property("correlation_id")
            .or(case.property("message_id"));
        let identity = reply["message_id"].as_str().unwrap_or_default();
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let timing = headers["server-timing"].as_str();
        let run = |timing: &str| timing.contains(", predict;dur=") && timing.contains("desc=\"b=");
        let ran = reply["type"] == "rejection" || timing.is_some_and(run);
        // no step was taken for a package that nobody serves
        let timed = timing.map_or(case.expected == "unknown_package", |timing| {
            timing.starts_with("decode;dur=")
        });
        let known = |(key, _): (&String, _)| HEADERS.contains(&key.as_str());
        let checks = [
            (reply["correlation_id"].as_str() == id, "correlation_id"),
            (
                identity.len() == 32 && identity.chars().all(hex),
                "message_id",
            ),
            (reply["delivery_mode"] == 2, "delivery_mode"),
            (reply["content_encoding"].is_null(), "content_encoding"),
            (
                headers.as_object().is_some_and(|map| map.iter().all(known)),
                "headers",
            ),
            (
                headers["inferq-package"] == case.package.as_str(),
                "inferq-package",
            ),
            (
                !resolved || headers["inferq-version"] == "1.0.0",
                "inferq-version",
            ),
            (
                resolved || headers["inferq-version"].is_null(),
                "inferq-version",
            ),
            (timed && ran, "server-timing"),
            (
                headers["traceparent"].as_str() == case.header_text("traceparent"),
                "traceparent",
            ),
            (
                headers["tracestate"].as_str() == case.header_text("tracestate"),
                "tracestate",
            ),
            (
                reply["content_type"] == content_type(case, reply["type"] == "outcome"),
                "content_type",
            ),
        ];
        let wrong = checks.iter().filter(|(holds, _)| !holds);
        wrong
            .map(|(_, what)| format!("{what} in {reply}"))
            .collect()
    }

    fn outcome(&self, case: &Case) -> Vec<String> {
        let (object, mut faults) = (&self.0["object"], Vec::new());
        if !packages::response_schema(&case.package).is_valid(object) {
            faults.push(format!("not of the response schema: {object}"));
        }
        if let Some((key, value)) = &case.part
            && object[key] != *value
        {
            faults.push(format!("{key} is not {value}: {object}"));
        }
        faults
    }

    fn rejection(&self, case: &Case) -> Vec<String> {
        let object = &self.0["object"];
        let schema = schemars::schema_for!(Problem).to_value();
        if !jsonschema::validator_for(&schema).unwrap().is_valid(object) {
            return vec![format!("no problem details: {object}")];
        }
        let problem: Problem = serde_json::from_value(object.clone()).unwrap();
        let row = CODES.iter().find(|(code, ..)| *code == problem.code);
        let Some((code, stages, status, retryable)) = row else {
            return vec![format!("a code that the contract does not have: {object}")];
        };
        let pointed = |pointer: &&str| problem.errors.iter().any(|error| error.pointer == *pointer);
        let version = self.0["headers"]["inferq-version"].as_str();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).to_str().unwrap();
        let internal = [root, ".rs:", "panicked", "lapin", "serde", "ort::"];
        let told = object.to_string();
        let checks = [
            (
                problem.r#type == format!("urn:inferq:rejection:{code}"),
                "type",
            ),
            (stages.contains(&problem.stage.as_str()), "stage"),
            (u64::from(problem.status) == *status, "status"),
            (problem.retryable == *retryable, "retryable"),
            (
                !problem.title.is_empty() && !problem.detail.is_empty(),
                "words",
            ),
            (
                problem.instance.as_deref() == case.property("message_id"),
                "instance",
            ),
            (
                problem.package.as_deref() == Some(&*case.package),
                "package",
            ),
            (problem.version.as_deref() == version, "version"),
            (case.pointer.as_ref().is_none_or(pointed), "pointer"),
            (
                !internal.iter().any(|word| told.contains(word)),
                "something internal",
            ),
        ];
        let wrong = checks.iter().filter(|(holds, _)| !holds);
        wrong
            .map(|(_, what)| format!("{what} in {object}"))
            .collect()
    }
}

/// As the request's, or as it asks for; JSON for a picture.
fn content_type(case: &Case, outcome: bool) -> &'static str {
    let named = |text: Option<&str>| {
        let text = text?.to_ascii_lowercase();
        ["json", "msgpack"]
            .into_iter()
            .find(|kind| text.contains(kind))
    };
    let accept = named(case.header_text("inferq-accept"));
    match accept.or_else(|| named(case.property("content_type"))) {
        Some("msgpack") => "application/vnd.msgpack",
        _ if outcome => "application/json",
        _ => "application/problem+json",
    }
}
