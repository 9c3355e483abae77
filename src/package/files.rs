//! Reading a package's files, with every fault that needs no model to be found.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde_json::{Map, Number, Value};

use super::{
    checks,
    digest::{Digest, digest},
    fault::PackageFault,
    golden::{self, Golden},
    manifest::{MANIFEST, Manifest, manifest_schema},
    schema::{RequestSchema, Schema},
    shape::{Notation, Shape},
    words::rendered,
};
use crate::representation::nearest::nearest;

/// Bytes of a manifest, a schema or a golden file, at most.
pub(super) const MAX_TEXT: u64 = 8 << 20;

static SHAPE: LazyLock<Shape> = LazyLock::new(|| Shape::new(manifest_schema()));

/// A package's files, read and found right as far as that can be said without opening the model.
#[derive(Debug)]
pub struct PackageFiles {
    pub(super) dir: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) request_schema: RequestSchema,
    pub(super) response_schema: Schema,
    pub(super) goldens: Vec<Golden>,
}

impl PackageFiles {
    /// What `package.toml` says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Path of the ONNX file.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.dir.join(&self.manifest.model)
    }

    /// Digest of all files.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The fault of a model that could not be opened, for `told`.
    #[must_use]
    pub fn model_fault(&self, told: &crate::fault::Fault) -> PackageFault {
        PackageFault::told(&self.manifest.model, "", &told.detail, "")
    }
}

/// How a package is read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// Its golden examples are still to be written.
    pub(super) draft: bool,
    /// It lies in a repository.
    pub(super) placed: bool,
}

/// Reads the package in `dir`.
pub(super) fn read(dir: &Path, reading: Reading) -> Result<PackageFiles, Vec<PackageFault>> {
    if !dir.is_dir() {
        return Err(vec![PackageFault::new(
            dir.to_string_lossy(),
            "",
            if dir.exists() { "a file" } else { "nothing" },
            "a package's folder",
            format!("name the folder that {MANIFEST} lies in"),
        )]);
    }
    let mut faults = Vec::new();
    let manifest = manifest(dir, reading.placed, &mut faults);
    // With a manifest that cannot be read, the other files are looked for under their usual names.
    let named = |name: fn(&Manifest) -> &str, usual: &str| {
        let name = manifest.as_ref().map_or(usual, name).to_owned();
        checks::is_inside(&name).then_some(name)
    };
    let request = named(|m| &m.request_schema, "request.schema.json");
    let request_schema =
        request.and_then(|file| keep(schema(dir, &file, RequestSchema::compile), &mut faults));
    let response = named(|m| &m.response_schema, "response.schema.json");
    let response_schema =
        response.and_then(|file| keep(schema(dir, &file, Schema::compile), &mut faults));
    if let Some(model) = named(|m| &m.model, "model.onnx") {
        faults.extend(regular(dir, &model).err());
    }
    let goldens = if reading.draft {
        Vec::new()
    } else {
        golden::read(
            dir,
            manifest.as_ref(),
            request_schema.as_ref(),
            response_schema.as_ref(),
            &mut faults,
        )
    };
    let digest = keep(digest(dir), &mut faults);
    match (manifest, digest, request_schema, response_schema) {
        (Some(manifest), Some((digest, bytes)), Some(request_schema), Some(response_schema))
            if faults.is_empty() =>
        {
            Ok(PackageFiles {
                dir: dir.to_owned(),
                manifest,
                digest,
                bytes,
                request_schema,
                response_schema,
                goldens,
            })
        }
        _ => Err(once(faults)),
    }
}

fn keep<T>(result: Result<T, Vec<PackageFault>>, faults: &mut Vec<PackageFault>) -> Option<T> {
    result.map_err(|found| faults.extend(found)).ok()
}

/// A link is found both where it is read and where it is hashed.
fn once(faults: Vec<PackageFault>) -> Vec<PackageFault> {
    let mut kept = Vec::<PackageFault>::new();
    for fault in faults {
        if !kept.contains(&fault) {
            kept.push(fault);
        }
    }
    kept
}

fn schema<S>(
    dir: &Path,
    file: &str,
    compile: impl FnOnce(&str, &[u8]) -> Result<S, Vec<PackageFault>>,
) -> Result<S, Vec<PackageFault>> {
    let text = text(dir, file).map_err(|fault| vec![fault])?;
    compile(file, &text)
}

fn manifest(dir: &Path, placed: bool, faults: &mut Vec<PackageFault>) -> Option<Manifest> {
    let document = text(dir, MANIFEST)
        .and_then(|text| toml(&text))
        .and_then(|document| checks::format(&document).map(|()| document));
    let document = keep(document.map_err(|fault| vec![fault]), faults)?;
    let mut checked = Vec::new();
    checks::check(dir, placed, &document, &mut checked);
    let manifest = SHAPE.read::<Manifest>(MANIFEST, &document, Notation::Toml);
    let manifest = manifest.map_err(|mut shape| {
        // What the checks have said in better words.
        shape.retain(|fault| checked.iter().all(|known| known.key != fault.key));
        shape
    });
    let manifest = keep(manifest, faults);
    faults.append(&mut checked);
    manifest
}

fn toml(text: &[u8]) -> Result<Value, PackageFault> {
    let text = std::str::from_utf8(text).map_err(|fault| {
        let line = text
            .iter()
            .take(fault.valid_up_to())
            .filter(|b| **b == b'\n');
        let line = format!("line {}", line.count() + 1);
        PackageFault::new(
            MANIFEST,
            line,
            "bytes that are not UTF-8",
            "UTF-8",
            "save the file as UTF-8",
        )
    })?;
    let table = text.parse::<toml::Table>().map_err(|fault| {
        let before = fault.span().and_then(|span| text.get(..span.start));
        let place = before.map(|before| {
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            format!("line {line}, column {column}")
        });
        PackageFault::told(
            MANIFEST,
            place.unwrap_or_default(),
            format!("not TOML: {}", fault.message().trim_end()),
            "mend the line",
        )
    })?;
    Ok(table_as_json(table))
}

fn table_as_json(table: toml::Table) -> Value {
    let entries = table.into_iter().map(|(key, value)| (key, as_json(value)));
    Value::Object(entries.collect::<Map<_, _>>())
}

/// Dates and what is not finite become text, which no key takes in their place.
fn as_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(n) => n.into(),
        toml::Value::Float(x) => {
            Number::from_f64(x).map_or_else(|| x.to_string().into(), Value::Number)
        }
        toml::Value::Boolean(b) => b.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(as_json).collect(),
        toml::Value::Table(table) => table_as_json(table),
    }
}

/// Parses the content of `file` as JSON.
pub(super) fn json(file: &str, text: &[u8]) -> Result<Value, PackageFault> {
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(PackageFault::new(
            file,
            "",
            "a byte order mark in front",
            "JSON in UTF-8 without a byte order mark",
            "save the file as plain UTF-8",
        ));
    }
    serde_json::from_slice(text).map_err(|fault| {
        let (line, column) = (fault.line(), fault.column());
        let told = fault.to_string();
        let place = format!(" at line {line} column {column}");
        PackageFault::told(
            file,
            format!("line {line}, column {column}"),
            format!("not JSON: {}", told.strip_suffix(&place).unwrap_or(&told)),
            "mend the line",
        )
    })
}

/// The content of the file `name`, which is text.
pub(super) fn text(dir: &Path, name: &str) -> Result<Vec<u8>, PackageFault> {
    bytes(dir, name, MAX_TEXT)
}

/// The content of the file `name`, unless it is larger than `most`.
pub(super) fn bytes(dir: &Path, name: &str, most: u64) -> Result<Vec<u8>, PackageFault> {
    let path = regular(dir, name)?;
    let told = |fault| PackageFault::told(name, "", fault, "");
    let size = path.metadata().map_err(told)?.len();
    if size > most {
        return Err(PackageFault::new(
            name,
            "",
            format!("{size} bytes"),
            format!("at most {most}"),
            "make the file smaller",
        ));
    }
    fs::read(path).map_err(told)
}

/// The path of the file `name`, which is there and is no link.
pub(super) fn regular(dir: &Path, name: &str) -> Result<PathBuf, PackageFault> {
    let path = dir.join(name);
    match path.symlink_metadata() {
        Ok(meta) if meta.is_file() => Ok(path),
        Ok(meta) if meta.is_dir() => Err(PackageFault::new(
            name,
            "",
            "a folder",
            "a file",
            "put a plain file here",
        )),
        Ok(meta) => Err(PackageFault::new(
            name,
            "",
            if meta.is_symlink() {
                "a symbolic link"
            } else {
                "neither a file nor a folder"
            },
            "a file of the package's own",
            "put a copy of the file here",
        )),
        Err(fault) if fault.kind() == ErrorKind::NotFound => Err(absent(dir, name)),
        Err(fault) => Err(PackageFault::told(name, "", fault, "")),
    }
}

/// The fault of a file that is not in `dir`, with the one there that may be meant.
pub(super) fn absent(dir: &Path, name: &str) -> PackageFault {
    let path = dir.join(name);
    let folder = path.parent().map(fs::read_dir);
    let entries = folder.and_then(Result::ok).into_iter().flatten().flatten();
    let names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    // Names of the same kind only: a `response.schema.json` is no mistyped `request.schema.json`.
    let taken = ["request.schema.json", "response.schema.json", MANIFEST];
    let free = names
        .iter()
        .map(String::as_str)
        .filter(|name| !taken.contains(name));
    let is_model = |name: &str| Path::new(name).extension() == Some("onnx".as_ref());
    let mut models = names.iter().filter(|name| is_model(name));
    let mend = match (nearest(&wanted, free), models.next(), models.next()) {
        (Some(close), _, _) => format!("rename {}, or add the file", rendered(&close.into())),
        (None, Some(only), None) if is_model(name) => format!(
            "write model = {} in {MANIFEST}, or add the file",
            rendered(&only.as_str().into())
        ),
        _ => "add the file".into(),
    };
    PackageFault::new(name, "", "nothing", "a file", mend)
}
