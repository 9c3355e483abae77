//! What a schema's keywords ask for, in words.

use jsonschema::{JsonType, error::TypeKind, error::ValidationErrorKind as Kind};
use serde_json::Value;

use crate::representation::nearest::listed;

/// No more names than this are listed.
const MAX_LISTED: usize = 20;

/// `(expected, found)` of the keywords that look at one value only.
pub(super) fn plain(kind: &Kind, instance: &Value) -> (String, String) {
    let than = |limit: &Value, what: &str, other: &str| {
        (format!("a number {what} {limit}"), format!("a {other} one"))
    };
    let count = |n: u64, bound: &str, of: &str, other: &str| {
        let plural = match (n, of) {
            (1, "property") => "property",
            (_, "property") => "properties",
            (1, of) => of,
            (_, "item") => "items",
            (_, _) => "characters",
        };
        (format!("{bound} {n} {plural}"), other.to_owned())
    };
    match kind {
        Kind::Type { kind } => (a_type_of(kind), kind_of(instance).into()),
        Kind::Enum { options } => (options_of(options), "another value".into()),
        Kind::Constant { expected_value } => (expected_value.to_string(), "another value".into()),
        Kind::Minimum { limit } => than(limit, "of at least", "smaller"),
        Kind::Maximum { limit } => than(limit, "of at most", "greater"),
        Kind::ExclusiveMinimum { limit } => than(limit, "greater than", "smaller or equal"),
        Kind::ExclusiveMaximum { limit } => than(limit, "less than", "greater or equal"),
        Kind::MultipleOf { multiple_of } => (
            format!("a multiple of {multiple_of}"),
            "another number".into(),
        ),
        Kind::MinLength { limit } => count(*limit, "at least", "character", "fewer"),
        Kind::MaxLength { limit } => count(*limit, "at most", "character", "more"),
        Kind::MinItems { limit } => count(*limit, "at least", "item", "fewer"),
        Kind::MaxItems { limit } => count(*limit, "at most", "item", "more"),
        Kind::AdditionalItems { limit } => count(*limit as u64, "at most", "item", "more"),
        Kind::MinProperties { limit } => count(*limit, "at least", "property", "fewer"),
        Kind::MaxProperties { limit } => count(*limit, "at most", "property", "more"),
        Kind::UnevaluatedItems { .. } => ("no further items".into(), "more".into()),
        Kind::UniqueItems => ("items that differ".into(), "two that are equal".into()),
        Kind::Contains => (
            "enough items of the kind that `contains` asks for".into(),
            "too few or too many".into(),
        ),
        Kind::Pattern { pattern } => (format!("text that matches {pattern}"), "other text".into()),
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => (
            "text that its pattern can be tried on".into(),
            "text that it cannot".into(),
        ),
        Kind::Format { format } => (format!("text of the format {format}"), "other text".into()),
        Kind::ContentEncoding { content_encoding } => {
            (format!("text in {content_encoding}"), "other text".into())
        }
        Kind::ContentMediaType { content_media_type } => (
            format!("text of the type {content_media_type}"),
            "other text".into(),
        ),
        Kind::FromUtf8 { .. } => ("text in UTF-8".into(), "other bytes".into()),
        Kind::PropertyNames { error } => {
            let (expected, _) = plain(error.kind(), error.instance());
            (
                format!("every property's name to be {expected}"),
                "another name".into(),
            )
        }
        Kind::FalseSchema => ("nothing here".into(), kind_of(instance).into()),
        Kind::Not { .. } => (
            "a value that `not` does not forbid".into(),
            "one that it forbids".into(),
        ),
        Kind::Custom { .. } | Kind::Referencing(_) => {
            ("what its schema asks for".into(), "something else".into())
        }
        // Told apart by `explain`.
        Kind::AdditionalProperties { .. }
        | Kind::UnevaluatedProperties { .. }
        | Kind::Required { .. }
        | Kind::AnyOf { .. }
        | Kind::OneOfNotValid { .. }
        | Kind::OneOfMultipleValid { .. } => {
            ("one of the allowed forms".into(), kind_of(instance).into())
        }
    }
}

pub(super) fn a_type_of(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => a_type(one.as_str()).into(),
        TypeKind::Multiple(several) => {
            let names: Vec<_> = several
                .iter()
                .map(|t: JsonType| a_type(t.as_str()))
                .collect();
            names.join(" or ")
        }
    }
}

/// A JSON type with its article.
pub(super) fn a_type(name: &str) -> &'static str {
    match name {
        "null" => "null",
        "boolean" => "true or false",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "text",
        "array" => "a list",
        "object" => "an object",
        _ => "a value",
    }
}

/// What kind of value it is.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn options_of(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    let listed: Vec<_> = options
        .iter()
        .take(MAX_LISTED)
        .map(Value::to_string)
        .collect();
    let more = if options.len() > MAX_LISTED {
        ", …"
    } else {
        ""
    };
    format!("one of {}{more}", listed.join(", "))
}

/// The first names, quoted.
pub(super) fn some<'k>(names: impl Iterator<Item = &'k str>) -> String {
    let mut names = names.peekable();
    let first = listed(names.by_ref().take(MAX_LISTED));
    match names.peek() {
        Some(_) => format!("{first}, …"),
        None => first,
    }
}

/// A value of the author's own file, shortened.
pub(super) fn rendered(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
