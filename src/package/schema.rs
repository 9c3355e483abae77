//! A package's request and response schemas: JSON Schema 2020-12, compiled once.
//!
//! Nothing is ever fetched: a `$ref` leads somewhere within its own file. Patterns run on an engine whose time is
//! linear in the text, because the text is a stranger's. Formats are asserted.

use jsonschema::{
    Draft, PatternOptions, ValidationError, Validator, error::ValidationErrorKind as Kind,
    json::Json,
};
use serde_json::Value;

use super::{documents::Documents, explain::explain, fault::PackageFault, refs, shape::Notation};
use crate::message::{document::Document, rejection::Located};

/// No more places than this are told to a requester.
pub(super) const MAX_ERRORS: usize = 20;

/// In a value that has more values in it, at most the first place is told: the validator collects all before any can be
/// had, and one request of 1 MiB has room for ten million.
const MAX_EXPLAINED: usize = 2_000;

/// In a value that is nested deeper no place is told where the schema refers back to itself: what is wrong with a value
/// is collected for every way in which the schema leads there, and these may double with each level.
const MAX_NESTED: usize = 4;

/// Bytes that one compiled pattern may take.
const PATTERN_BYTES: usize = 1 << 20;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A JSON Schema, compiled.
#[derive(Debug)]
pub struct Schema {
    document: Value,
    validator: Validator,
    /// Whether it has alternatives: what is wrong with each is collected even for one fault.
    alternatives: bool,
    /// Whether it refers back to itself.
    recurs: bool,
}

/// How much of what is wrong with a value can be found out in a time that is bounded.
enum Telling {
    Every,
    First,
    /// Nothing but this.
    None(String),
}

/// A package's request schema: requests are held against it as they were read.
#[derive(Debug)]
pub struct RequestSchema {
    schema: Schema,
    documents: Validator<Documents>,
}

impl RequestSchema {
    /// Compiles the content of `file`.
    pub(super) fn compile(file: &str, text: &[u8]) -> Result<Self, Vec<PackageFault>> {
        let schema = Schema::compile(file, text)?;
        let documents = validator(file, &schema.document)?;
        Ok(RequestSchema { schema, documents })
    }

    /// Checks a request, as [`Schema::check`] does.
    ///
    /// # Errors
    /// Each place where it is not what the schema asks for.
    pub fn check(&self, request: &Document) -> Result<(), Vec<Located>> {
        if self.documents.is_valid(request.root()) {
            return Ok(());
        }
        let value = request.root().to_value();
        match self.schema.telling(&value) {
            // Every fault holds the value that it is about: of a tree they borrow it.
            Telling::Every => Err(self.schema.all_faults(&value)),
            Telling::First => Err(self
                .schema
                .told(self.documents.validate(request.root()).err())),
            Telling::None(detail) => Err(vec![whole(detail)]),
        }
    }

    /// The schema as it is written.
    #[must_use]
    pub fn document(&self) -> &Value {
        self.schema.document()
    }
}

impl Schema {
    /// Compiles the content of `file`.
    pub(super) fn compile(file: &str, text: &[u8]) -> Result<Self, Vec<PackageFault>> {
        let document = super::files::json(file, text).map_err(|fault| vec![fault])?;
        let mut faults = Vec::new();
        dialect(file, &document, &mut faults);
        refs::check(file, &document, &mut faults);
        let meta = jsonschema::draft202012::meta::validator();
        let mut complaints = Vec::new();
        for error in meta.iter_errors(&document) {
            explain(&error, &Value::Null, &mut complaints);
        }
        let complaints = complaints.into_iter();
        faults.extend(complaints.map(|c| Notation::Json.located(file, &document, c)));
        if !faults.is_empty() {
            return Err(faults);
        }
        let validator = validator(file, &document)?;
        Ok(Schema {
            alternatives: has_alternatives(&document),
            recurs: refs::recurs(&document),
            document,
            validator,
        })
    }

    /// Checks `value`; at most 20 faults are told, none of which quotes it. Of more than 2,000 values one is, and that
    /// without its place where the schema has alternatives; so it is too of what is nested deeper than four levels where
    /// the schema refers back to itself.
    ///
    /// # Errors
    /// Each place where `value` is not what the schema asks for.
    pub fn check(&self, value: &Value) -> Result<(), Vec<Located>> {
        if self.validator.is_valid(value) {
            return Ok(());
        }
        match self.telling(value) {
            Telling::Every => Err(self.all_faults(value)),
            Telling::First => Err(self.told(self.validator.validate(value).err())),
            Telling::None(detail) => Err(vec![whole(detail)]),
        }
    }

    fn telling(&self, value: &Value) -> Telling {
        let nested = depth(value);
        if self.recurs && nested > MAX_NESTED {
            return Telling::None(format!(
                "expected what the schema allows, found values nested {nested} deep; the schema refers back to itself, so deeper than {MAX_NESTED} it cannot be told where it is not: send a part to find out"
            ));
        }
        match (few(value, &mut MAX_EXPLAINED.clone()), self.alternatives) {
            (true, _) => Telling::Every,
            (false, false) => Telling::First,
            (false, true) => Telling::None(format!(
                "expected what one of the schema's alternatives allows, found more than {MAX_EXPLAINED} values, too many to tell where it is not; send fewer to find out"
            )),
        }
    }

    fn all_faults(&self, value: &Value) -> Vec<Located> {
        self.told(self.validator.iter_errors(value).take(MAX_ERRORS))
    }

    fn told<'v>(&self, errors: impl IntoIterator<Item = ValidationError<'v>>) -> Vec<Located> {
        let mut complaints = Vec::new();
        for error in errors {
            explain(&error, &self.document, &mut complaints);
        }
        let mut all = Vec::<Located>::new();
        for complaint in complaints {
            let told = Located {
                detail: complaint.private(),
                pointer: complaint.pointer,
            };
            if all.len() < MAX_ERRORS && !all.contains(&told) {
                all.push(told);
            }
        }
        all
    }

    /// The schema as it is written.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }
}

fn whole(detail: String) -> Located {
    let pointer = String::new();
    Located { pointer, detail }
}

/// How many arrays and objects lie one in the other at most.
fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    1 + deepest.unwrap_or(0)
}

/// Whether `value` has no more than `left` values in it, itself included.
fn few(value: &Value, left: &mut usize) -> bool {
    let Some(rest) = left.checked_sub(1) else {
        return false;
    };
    *left = rest;
    match value {
        Value::Array(items) => items.iter().all(|item| few(item, left)),
        Value::Object(fields) => fields.values().all(|field| few(field, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Whether it says `anyOf` or `oneOf` anywhere.
fn has_alternatives(schema: &Value) -> bool {
    match schema {
        Value::Array(items) => items.iter().any(has_alternatives),
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            matches!(key.as_str(), "anyOf" | "oneOf") || has_alternatives(value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What values are held against that are kept as `F`.
fn validator<F: Json>(file: &str, document: &Value) -> Result<Validator<F>, Vec<PackageFault>> {
    jsonschema::options_for::<F>()
        .with_draft(Draft::Draft202012)
        .offline()
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES))
        .build(document)
        .map_err(|error| vec![uncompiled(file, document, &error)])
}

fn dialect(file: &str, document: &Value, faults: &mut Vec<PackageFault>) {
    let dialect = document.get("$schema");
    let text = dialect.and_then(Value::as_str);
    if dialect.is_some() && text.map(|text| text.trim_end_matches('#')) != Some(DRAFT) {
        faults.push(PackageFault::new(
            file,
            "/$schema",
            super::words::rendered(dialect.unwrap_or_default()),
            format!("{DRAFT:?}"),
            "rewrite the schema for 2020-12, or leave `$schema` out if it is that already",
        ));
    }
}

fn uncompiled(file: &str, document: &Value, error: &ValidationError<'_>) -> PackageFault {
    let key = error.instance_path().as_str();
    let there = document.pointer(key).map(super::words::rendered);
    let found = there.unwrap_or_else(|| "a schema".into());
    if matches!(error.kind(), Kind::Format { format } if format == "regex") {
        return PackageFault::new(
            file,
            key,
            found,
            "a regular expression of moderate size, without look-around and back-references",
            "write it with classes, groups and alternatives only: it must run in linear time on requests",
        );
    }
    PackageFault::new(
        file,
        key,
        format!("{found}, which does not compile: {error}"),
        "a schema that compiles",
        "correct what stands there",
    )
}
