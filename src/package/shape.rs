//! Files that are read into a type of ours: checked against the type's own JSON Schema first, because a schema
//! finds every fault and serde only the first.

use jsonschema::Validator;
use schemars::Schema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    explain::{About, Complaint, explain},
    fault::PackageFault,
    words::rendered,
};
use crate::representation::nearest::dotted;

/// The JSON Schema of a type that files are read into.
pub(super) struct Shape {
    schema: Value,
    // A schema that schemars made does compile; without it serde still finds the first fault.
    validator: Option<Validator>,
}

impl Shape {
    pub(super) fn new(schema: Value) -> Self {
        let validator = jsonschema::draft202012::options().build(&schema).ok();
        Shape { schema, validator }
    }

    /// Reads `document`, which is the content of `file`.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        file: &str,
        document: &Value,
        notation: Notation,
    ) -> Result<T, Vec<PackageFault>> {
        let mut complaints = Vec::new();
        let errors = self.validator.iter().flat_map(|v| v.iter_errors(document));
        errors.for_each(|error| explain(&error, &self.schema, &mut complaints));
        if !complaints.is_empty() {
            let told = complaints.into_iter();
            return Err(told
                .map(|complaint| notation.located(file, document, complaint))
                .collect());
        }
        serde_path_to_error::deserialize(document).map_err(|fault| {
            let path = match fault.path().to_string() {
                whole if whole == "." => String::new(),
                path => path,
            };
            let told = fault.inner().to_string();
            let mend = if told.contains("floating point") {
                "write a whole number, without a decimal point"
            } else {
                "correct the value"
            };
            vec![PackageFault::told(file, path, told, mend)]
        })
    }
}

/// How the places of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    /// `input.features.columns[3].pointer`
    Toml,
    /// `/input/features/columns/3/pointer`
    Json,
}

impl Notation {
    /// The complaint about `document`, with what stands there: the file is its author's own.
    pub(super) fn located(
        self,
        file: &str,
        document: &Value,
        complaint: Complaint,
    ) -> PackageFault {
        let key = self.key(&complaint);
        let found = match document.pointer(&complaint.pointer) {
            Some(value) if complaint.about == About::Value => rendered(value),
            _ => complaint.found,
        };
        let expected = match self {
            Notation::Toml => complaint.expected.replace("an object", "a table"),
            Notation::Json => complaint.expected,
        };
        let mend = match complaint.mend {
            none if none.is_empty() => "correct the value".into(),
            mend => mend,
        };
        PackageFault::new(file, key, found, expected, mend)
    }

    fn key(self, complaint: &Complaint) -> String {
        let last = complaint.about.key();
        match self {
            Notation::Json => {
                let last = last.map(|key| format!("/{}", escaped(key)));
                format!("{}{}", complaint.pointer, last.unwrap_or_default())
            }
            Notation::Toml => {
                let tokens = complaint.pointer.split('/').skip(1).map(unescaped);
                let mut key = String::new();
                for token in tokens.chain(last.map(str::to_owned)) {
                    if token.bytes().all(|b| b.is_ascii_digit()) && !key.is_empty() {
                        key = format!("{key}[{token}]");
                    } else {
                        key = dotted(&key, &token);
                    }
                }
                key.trim_start_matches('.').to_owned()
            }
        }
    }
}

/// A key as a token of a JSON pointer.
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// Takes `null` out of a schema: schemars puts it where a value is optional, but TOML has none, and a key
/// that is left out needs none.
pub(super) fn without_null(schema: &mut Schema) {
    schemars::transform::transform_subschemas(&mut without_null, schema);
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    let Some(Value::Array(forms)) = object.get_mut("anyOf") else {
        return;
    };
    forms.retain(|form| form.get("type").is_none_or(|name| name != "null"));
    if let [Value::Object(only)] = forms.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        object.extend(only);
    }
}
