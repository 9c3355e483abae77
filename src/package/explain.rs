//! Schema errors in our own words. The validator's words quote the value they are about; these never do, so they
//! can be told to a requester and be logged.

use jsonschema::{ValidationError, error::ValidationErrorKind as Kind};
use serde_json::Value;

use super::{
    alternatives,
    schema::MAX_ERRORS,
    words::{a_type, a_type_of, plain, some},
};
use crate::representation::nearest::advice;

/// What a complaint is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The value at the pointer.
    Value,
    /// A key that the object at the pointer lacks.
    Missing(String),
    /// A key that the object at the pointer has too many. It is the document's own word.
    Unknown(String),
}

impl About {
    /// The key that the object at the pointer lacks or has too many.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            About::Value => None,
            About::Missing(key) | About::Unknown(key) => Some(key),
        }
    }
}

/// One place in a document that its schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// JSON pointer to a value.
    pub(super) pointer: String,
    /// That value, or a key of it.
    pub(super) about: About,
    /// What kind of thing is there; nothing of the value itself.
    pub(super) found: String,
    /// What should be.
    pub(super) expected: String,
    /// How to mend it; may be empty.
    pub(super) mend: String,
}

impl Complaint {
    /// Without the value, and without names that only the document knows.
    pub(super) fn private(&self) -> String {
        let Complaint {
            about,
            found,
            expected,
            mend,
            ..
        } = self;
        let told = match about {
            About::Value => format!("expected {expected}, found {found}"),
            About::Missing(key) => format!("the property {key:?} is missing, expected {expected}"),
            About::Unknown(_) => format!("a property that is not known, expected {expected}"),
        };
        match mend.as_str() {
            "" => told,
            mend => format!("{told}; {mend}"),
        }
    }
}

/// Puts `error`, which `schema` gave, into words.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "`plain` names all the others"
)]
pub(super) fn explain(error: &ValidationError<'_>, schema: &Value, out: &mut Vec<Complaint>) {
    let pointer = error.instance_path().as_str().to_owned();
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let known = siblings(error, schema);
            for name in unexpected.iter().take(MAX_ERRORS) {
                out.push(unknown(pointer.clone(), name, &known));
            }
        }
        Kind::Required { property } => out.push(missing(pointer, property, error, schema)),
        Kind::AnyOf { context }
        | Kind::OneOfNotValid { context }
        | Kind::OneOfMultipleValid { context } => {
            alternatives::explain(error, context, schema, out);
        }
        kind => {
            let (expected, found) = plain(kind, error.instance());
            out.push(Complaint {
                pointer,
                about: About::Value,
                found,
                expected,
                mend: mend(kind, error, schema),
            });
        }
    }
}

fn unknown(pointer: String, name: &str, known: &[&str]) -> Complaint {
    let names = || known.iter().copied();
    let mend = advice(name, names(), "take it away");
    Complaint {
        pointer,
        about: About::Unknown(name.to_owned()),
        found: "an unknown key".into(),
        expected: match known.len() {
            0 => "no further keys".into(),
            _ => format!("one of {}", some(names())),
        },
        mend,
    }
}

fn missing(
    pointer: String,
    property: &Value,
    error: &ValidationError<'_>,
    schema: &Value,
) -> Complaint {
    let name = property.as_str().unwrap_or_default();
    let known = parent(error, schema).and_then(|s| s.get("properties")?.get(name));
    let kind = known.and_then(|s| s.get("type")?.as_str()).map(a_type);
    Complaint {
        pointer,
        about: About::Missing(name.to_owned()),
        found: "nothing".into(),
        expected: kind.unwrap_or("a value").into(),
        mend: format!("add {name:?}"),
    }
}

/// What helps beyond what is expected.
fn mend(kind: &Kind, error: &ValidationError<'_>, schema: &Value) -> String {
    if let Kind::Type { kind } = kind {
        let wanted = a_type_of(kind);
        let quoted = error.instance().as_str();
        let number = quoted.and_then(|text| text.parse::<f64>().ok());
        if wanted == "a number" && number.is_some_and(|x| !x.is_finite()) {
            return "write a finite number".into();
        }
        let fits = match wanted.as_str() {
            "a number" => number.is_some(),
            "an integer" => quoted.is_some_and(|text| text.parse::<i64>().is_ok()),
            _ => false,
        };
        let bare = error.instance().is_number() || error.instance().is_boolean();
        return match (fits, bare && wanted == "text") {
            (true, _) => "write it without quotes".into(),
            (_, true) => "write it in quotes".into(),
            (false, false) => String::new(),
        };
    }
    match parent(error, schema).and_then(|property| property.get("default")) {
        Some(usual) if !usual.is_null() => format!("leave it out to have {usual}"),
        _ => String::new(),
    }
}

/// The names of the properties that stand beside the keyword of `error`.
fn siblings<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Vec<&'s str> {
    let properties = parent(error, schema).and_then(|s| s.get("properties")?.as_object());
    properties
        .into_iter()
        .flat_map(|p| p.keys().map(String::as_str))
        .collect()
}

fn parent<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Option<&'s Value> {
    let (parent, _) = error.schema_path().as_str().rsplit_once('/')?;
    schema.pointer(parent)
}
