//! The package under test: a model that gives back its first feature.

use crate::load;
use anyhow::Result;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

pub const NAME: &str = "noop";

const MANIFEST: &str = r#"format = 1
name = "noop"
version = "1.0.0"
description = "Gives the amount back: what a round trip costs without a model's work."
owner = "inferq benches"
license = "Apache-2.0"

[input.features]
dtype = "float32"
columns = [
  { pointer = "/amount" },
  { pointer = "/balance" },
  { pointer = "/limit" },
  { pointer = "/card_age" },
  { pointer = "/account_age" },
  { pointer = "/today" },
  { pointer = "/mean" },
  { pointer = "/failed" },
]

[outcome.score.number]
output = "y"
"#;
const FEATURES: [&str; 8] = [
    "amount",
    "balance",
    "limit",
    "card_age",
    "account_age",
    "today",
    "mean",
    "failed",
];

/// Writes the package; the repository that it is in.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let repository = folder.join("packages");
    let version = repository.join(NAME).join("1.0.0");
    fs::create_dir_all(version.join("golden"))?;
    fs::write(version.join("package.toml"), MANIFEST)?;
    fs::write(version.join("model.onnx"), identity())?;
    let schema = "https://json-schema.org/draft/2020-12/schema";
    let numbers = FEATURES.map(|name| (name.to_owned(), json!({ "type": "number" })));
    let request = json!({
        "$schema": schema,
        "type": "object",
        "properties": serde_json::Map::from_iter(numbers),
        "required": FEATURES,
    });
    let response = json!({
        "$schema": schema,
        "type": "object",
        "properties": { "score": { "type": "number" } },
        "required": ["score"],
        "additionalProperties": false,
    });
    let golden = json!({
        "request": serde_json::from_str::<serde_json::Value>(&load::body(0))?,
        "outcome": { "score": load::amount(0) },
        "tolerance": 1e-4,
    });
    for (file, content) in [
        ("request.schema.json", request),
        ("response.schema.json", response),
        ("golden/one.json", golden),
    ] {
        fs::write(version.join(file), serde_json::to_vec_pretty(&content)?)?;
    }
    Ok(repository)
}

/// `features[n, 8]` → `y[n, 8]`, unchanged: a `ModelProto`, its numbers those of `onnx.proto`.
fn identity() -> Vec<u8> {
    let shape = [part(1, &part(2, b"n")), part(1, &number(1, 8))].concat();
    let tensor = part(1, &[number(1, 1), part(2, &shape)].concat());
    let port = |name: &[u8]| [part(1, name), part(2, &tensor)].concat();
    let (x, y) = (b"features".as_slice(), b"y".as_slice());
    let node = [part(1, x), part(2, y), part(4, b"Identity")].concat();
    let graph = [
        part(1, &node),
        part(2, b"noop"),
        part(11, &port(x)),
        part(12, &port(y)),
    ];
    let opset = part(8, &number(2, 17));
    [number(1, 8), part(7, &graph.concat()), opset].concat()
}

/// A field with a length. Nothing here is longer than one byte can say.
fn part(field: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("short");
    assert!(length < 0x80, "a length of one byte");
    [&[field << 3 | 2, length], content].concat()
}

fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}
