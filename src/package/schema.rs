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

/// Of more values at most the first fault is told: the validator collects all before any can be had, one request of 1 MiB
/// has room for ten million, and in a tree it compares each element with each where they are to differ.
const MAX_EXPLAINED: usize = 2_000;

/// Nor where these may have more faults.
const MAX_FAULTS: usize = 200_000;

/// So much text at most is copied: each fault of an alternative has the value that it is about once more.
const MAX_COPIED: usize = 64 << 20;

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
    /// No more faults than this are found in one value, each time that it is looked at.
    rules: usize,
    /// Where it refers back to itself: how many more times each level of a value may be looked at than that above it.
    branches: Option<usize>,
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
            rules: Size::of(&document).values,
            branches: refs::branches(&document),
            document,
            validator,
        })
    }

    /// Checks `value`; at most 20 faults are told, none of which quotes it. Of more than 2,000 values one is told, and so
    /// it is where these may have too many faults; without its place where the schema has alternatives or refers back to
    /// itself.
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
        let Size {
            values,
            text,
            depth,
        } = Size::of(value);
        let levels = u32::try_from(depth).unwrap_or(u32::MAX);
        let ways = self.branches.map_or(1, |each| each.saturating_pow(levels));
        let each = self.rules.saturating_mul(ways);
        let copied = if self.alternatives {
            text.saturating_mul(each)
        } else {
            0
        };
        let few = values <= MAX_EXPLAINED && values.saturating_mul(each) <= MAX_FAULTS;
        if few && copied <= MAX_COPIED {
            return Telling::Every;
        }
        if !self.alternatives && self.branches.is_none() {
            return Telling::First;
        }
        Telling::None(format!(
            "expected what the schema allows in one way or another, found {values} values nested {depth} deep, too many to tell where it is not; send a part to find out"
        ))
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

/// How large a value is.
struct Size {
    /// In it, itself included.
    values: usize,
    /// Bytes of its texts and keys.
    text: usize,
    /// How many arrays and objects lie one in the other at most.
    depth: usize,
}

impl Size {
    fn of(value: &Value) -> Size {
        let mut size = Size {
            values: 1,
            text: 0,
            depth: 0,
        };
        match value {
            Value::Array(items) => items.iter().for_each(|item| size.hold(item)),
            Value::Object(fields) => {
                for (key, field) in fields {
                    size.text += key.len();
                    size.hold(field);
                }
            }
            Value::String(text) => size.text = text.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) => return size,
        }
        size.depth += usize::from(value.is_array() || value.is_object());
        size
    }

    fn hold(&mut self, value: &Value) {
        let Size {
            values,
            text,
            depth,
        } = Size::of(value);
        self.values += values;
        self.text += text;
        self.depth = self.depth.max(depth);
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
