mod bound;
mod broken;
mod digests;
mod manifests;
mod rehearsals;
mod requests;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::tensor::{BatchAxis, Dtype, Port, Signature};

pub(super) const MANIFEST_TEXT: &str = r#"format = 1
name = "scores"
version = "1.0.0"
description = "Says whether a payment looks good."
owner = "payments"

[input.features]
dtype = "float32"
columns = [
  { pointer = "/amount", transform = "log1p" },
  { pointer = "/age", on_missing = "default", default = 40.0 },
  { pointer = "/currency", categories = ["EUR", "USD"], encode = "one_hot", unknown = "zero" },
]

[outcome.verdict.class]
output = "probabilities"
labels = ["good", "bad"]
score_field = "score"

[rejection.needs_human]
title = "A person has to look at this"

[[reject]]
output = "probabilities"
index = 1
above = 0.99
code = "needs_human"
"#;

const REQUEST_SCHEMA: &str = r##"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "amount": { "type": "number", "minimum": 0 },
    "age": { "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "null" }] },
    "currency": { "$ref": "#/$defs/currency" },
    "note": { "type": "string", "maxLength": 5, "format": "email" }
  },
  "required": ["amount", "currency"],
  "additionalProperties": false,
  "$defs": { "currency": { "type": "string", "pattern": "^[A-Z]{3}$" } }
}"##;

const RESPONSE_SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "verdict": { "enum": ["good", "bad"] },
    "score": { "type": "number", "minimum": 0, "maximum": 1 }
  },
  "required": ["verdict", "score"],
  "additionalProperties": false
}"#;

const GOLDEN: &str = r#"{
  "request": { "amount": 1.5, "currency": "EUR" },
  "outcome": { "verdict": "good", "score": 0.75 }
}"#;

const GOLDEN_REJECTED: &str = r#"{
  "request": { "amount": 9000, "age": 3, "currency": "SEK" },
  "rejection": "package:needs_human"
}"#;

/// A package in a folder of its own, gone when dropped.
pub(super) struct Folder {
    root: PathBuf,
    pub(super) dir: PathBuf,
}

impl Folder {
    /// A package without fault, in `<root>/scores/1.0.0`.
    pub(super) fn valid() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("inferq-package-{}-{n}", std::process::id()));
        let dir = root.join("scores/1.0.0");
        fs::create_dir_all(dir.join("golden")).unwrap();
        let folder = Folder { root, dir };
        folder.write("package.toml", MANIFEST_TEXT);
        folder.write("model.onnx", "not looked at without ONNX Runtime");
        folder.write("request.schema.json", REQUEST_SCHEMA);
        folder.write("response.schema.json", RESPONSE_SCHEMA);
        folder.write("golden/first.json", GOLDEN);
        folder.write("golden/second.json", GOLDEN_REJECTED);
        folder
    }

    pub(super) fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.dir.join(file), content).unwrap();
    }

    pub(super) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.dir.join(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        self.write(file, text.replacen(from, to, 1));
    }

    pub(super) fn remove(&self, file: &str) {
        fs::remove_file(self.dir.join(file)).unwrap();
    }

    pub(super) fn rename(&mut self, to: &str) {
        let to = self.root.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(&self.dir, &to).unwrap();
        self.dir = to;
    }

    pub(super) fn read(&self) -> Result<PackageFiles, Vec<PackageFault>> {
        Package::read(&self.dir)
    }

    pub(super) fn package(&self) -> Package {
        self.read().unwrap().bind(&signature()).unwrap()
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

pub(super) fn port(name: &str, dtype: Dtype, row_shape: &[Option<usize>]) -> Port {
    Port {
        name: name.into(),
        dtype,
        row_shape: row_shape.to_vec(),
        batch: BatchAxis::Dynamic,
    }
}

/// The model that the valid package is made for.
pub(super) fn signature() -> Signature {
    Signature {
        inputs: vec![port("features", Dtype::Float32, &[Some(4)])],
        outputs: vec![port("probabilities", Dtype::Float32, &[Some(2)])],
    }
}

/// Whether `found` has a fault of `file` and `key` whose sentence contains `words`.
pub(super) fn has(found: &[PackageFault], file: &str, key: &str, words: &str) -> bool {
    found
        .iter()
        .any(|f| f.file == file && f.key == key && f.to_string().contains(words))
}

#[track_caller]
pub(super) fn expect(found: &[PackageFault], file: &str, key: &str, words: &str) {
    assert!(
        has(found, file, key, words),
        "no fault of {file}: {key}: … {words} … among {found:#?}"
    );
}
