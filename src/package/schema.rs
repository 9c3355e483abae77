//! A package's request and response schemas: JSON Schema 2020-12, compiled once.
//!
//! Nothing is ever fetched: a `$ref` leads somewhere within its own file. Patterns run on an engine whose time is
//! linear in the text, because the text is a stranger's. Formats are asserted.

use std::fmt;

use jsonschema::{
    Draft, PatternOptions, Validator,
    error::ValidationErrorKind as Kind,
    json::{Json, SerdeJson},
};
use serde_json::Value;

use super::{explain::explain, fault::PackageFault, refs, shape::Notation};
use crate::message::rejection::Located;

/// No more places than this are told to a requester.
const MAX_ERRORS: usize = 20;

/// Bytes that one compiled pattern may take.
const PATTERN_BYTES: usize = 1 << 20;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A JSON Schema, compiled for values that are held as `F`.
pub struct Schema<F: Json = SerdeJson> {
    document: Value,
    validator: Validator<F>,
}

impl<F: Json> fmt::Debug for Schema<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.document).finish()
    }
}

impl<F: Json> Schema<F> {
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
        let options = jsonschema::options_for::<F>()
            .with_draft(Draft::Draft202012)
            .offline()
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES));
        match options.build(&document) {
            Ok(validator) => Ok(Schema {
                document,
                validator,
            }),
            Err(error) => Err(vec![uncompiled(file, &document, &error)]),
        }
    }

    /// Checks `value`; at most 20 faults are told, none of which quotes it.
    ///
    /// # Errors
    /// Each place where `value` is not what the schema asks for.
    pub fn check<'v>(&'v self, value: F::Node<'v>) -> Result<(), Vec<Located>> {
        if self.validator.is_valid(value.clone()) {
            return Ok(());
        }
        let mut complaints = Vec::new();
        for error in self.validator.iter_errors(value).take(MAX_ERRORS) {
            explain(&error, &self.document, &mut complaints);
        }
        let mut errors = Vec::<Located>::new();
        for complaint in complaints {
            let told = Located {
                detail: complaint.private(),
                pointer: complaint.pointer,
            };
            if errors.len() < MAX_ERRORS && !errors.contains(&told) {
                errors.push(told);
            }
        }
        Err(errors)
    }

    /// The schema as it is written.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }
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

fn uncompiled(
    file: &str,
    document: &Value,
    error: &jsonschema::ValidationError<'_>,
) -> PackageFault {
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
