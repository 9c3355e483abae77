//! A repository of the samples and of packages that fail on demand.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    onnx::{labour, logarithm},
    worker::samples,
};

/// The samples, `logarithm` (NaN below zero) and `tally` (many rows, as much work as is asked, a small reply, a small
/// queue, one session).
pub(super) fn repository() -> TempDir {
    let folder = copy_of_samples();
    let columns = r#"columns = [{ pointer = "/x" }]"#;
    let dir = package(folder.path(), "logarithm", "", columns);
    logarithm().write(&dir);
    write(&dir, "request.schema.json", &number("x"));
    write(&dir, "response.schema.json", &number("y"));
    write(
        &dir,
        "golden/one.json",
        &json!({ "request": { "x": 1.0 }, "outcome": { "y": 0.0 } }),
    );

    let limits = "each = \"/items\"\n[limits]\nmax_rows = 64\nreply_bytes = 512\n[batch]\nmax_size = 64\nqueue_limit = 64\n[sessions]\ncount = 1\n";
    let columns = format!(
        "{columns}\n[input.work]\ndtype = \"int64\"\ncolumns = [{{ pointer = \"/work\" }}]"
    );
    let dir = package(folder.path(), "tally", limits, &columns);
    labour().write(&dir);
    let item = json!({ "type": "object", "required": ["x", "work"] });
    write(&dir, "request.schema.json", &list("items", &item));
    write(&dir, "response.schema.json", &list("results", &number("y")));
    let golden = json!({ "request": { "items": [{ "x": 1.0, "work": 1 }] }, "outcome": { "results": [{ "y": 1.0 }] } });
    write(&dir, "golden/one.json", &golden);
    folder
}

/// The samples, to be changed.
pub(super) fn copy_of_samples() -> TempDir {
    let folder = TempDir::new().unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(samples().join("."))
        .arg(folder.path())
        .status();
    assert!(copied.unwrap().success());
    folder
}

fn package(root: &Path, name: &str, limits: &str, input: &str) -> PathBuf {
    let dir = root.join(name).join("1.0.0");
    fs::create_dir_all(dir.join("golden")).unwrap();
    let manifest = format!(
        "format = 1\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"For tests.\"\nowner = \"tests\"\n\
         {limits}\n[input.x]\ndtype = \"float32\"\n{input}\n\n[outcome.y.number]\noutput = \"y\"\n"
    );
    fs::write(dir.join("package.toml"), manifest).unwrap();
    dir
}

fn write(dir: &Path, file: &str, content: &Value) {
    fs::write(dir.join(file), content.to_string()).unwrap();
}

fn number(key: &str) -> Value {
    json!({ "type": "object", "properties": { key: { "type": "number" } }, "required": [key], "additionalProperties": false })
}

fn list(key: &str, items: &Value) -> Value {
    json!({ "type": "object", "properties": { key: { "type": "array", "items": items } }, "required": [key], "additionalProperties": false })
}

/// What outcomes of a package must be.
pub(super) fn response_schema(package: &str) -> jsonschema::Validator {
    let schema = match package {
        "logarithm" => number("y"),
        "tally" => list("results", &number("y")),
        _ => {
            let file = samples().join(package).join("1.0.0/response.schema.json");
            serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
        }
    };
    jsonschema::validator_for(&schema).unwrap()
}
