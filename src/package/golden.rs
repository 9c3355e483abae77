//! Golden examples: requests whose answers the author knows. What is in the files is checked here; whether the
//! model still gives these answers is found out by the rehearsal.

use std::{path::Path, sync::LazyLock};

use bytes::Bytes;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Package,
    checks::is_inside,
    examples,
    fault::PackageFault,
    files::{bytes, json, text},
    manifest::Manifest,
    schema::{RequestSchema, Schema},
    shape::{Notation, Shape, without_null},
    words::{rendered, some},
};
use crate::{message::object::Object, representation::nearest::advice, tensor::Row};

/// The folder of the golden examples.
pub(super) const FOLDER: &str = "golden";

/// Bytes of a golden picture, at most.
const MAX_PICTURE: u64 = 64 << 20;

/// How far numbers may be off where the example does not say.
const TOLERANCE: f64 = 1e-4;

/// Rejections that a package can give; a package's own come beside them.
const CODES: [&str; 2] = ["invalid_request", "unrepresentable"];

const PICTURES: [&str; 3] = ["image/png", "image/jpeg", "image/webp"];

/// A request, and the answer that its author knows.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The file, relative to the package's folder.
    pub file: String,
    /// The request.
    pub object: Object,
    /// The answer.
    pub expected: Expected,
    /// Numbers may be off by this much, and by this much of what is expected.
    pub tolerance: f64,
}

/// The answer to a golden request.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// An outcome. Integers and text must be just these; numbers with a decimal point may be off.
    Outcome(Value),
    /// A rejection with this code.
    Rejection(String),
}

/// A golden example: a request, or a picture, and the outcome or the rejection that answers it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GoldenSpec {
    /// The request.
    request: Option<Value>,
    /// In its place: a picture's file, in the folder of golden examples.
    picture: Option<String>,
    /// The picture's content type.
    content_type: Option<String>,
    /// What comes back.
    outcome: Option<Value>,
    /// In its place: the code of the rejection that comes back.
    rejection: Option<String>,
    /// How far numbers may be off, absolutely and relatively; from 1 on nothing would be wrong.
    #[schemars(range(min = 0, max = 1))]
    tolerance: Option<f64>,
}

static SHAPE: LazyLock<Shape> = LazyLock::new(|| {
    let settings = SchemaSettings::draft2020_12().with_transform(without_null);
    let schema = settings
        .into_generator()
        .into_root_schema_for::<GoldenSpec>();
    Shape::new(schema.to_value())
});

/// Reads all golden examples of the package in `dir`, in the order of their names.
pub(super) fn read(
    dir: &Path,
    manifest: Option<&Manifest>,
    request: Option<&RequestSchema>,
    response: Option<&Schema>,
    faults: &mut Vec<PackageFault>,
) -> Vec<Golden> {
    let names = match examples::list(dir, faults) {
        Ok(names) => names,
        Err(fault) => {
            faults.push(fault);
            return Vec::new();
        }
    };
    let (mut goldens, mut outcomes) = (Vec::new(), 0);
    for file in names {
        match one(dir, &file) {
            Ok(golden) => {
                outcomes += usize::from(matches!(golden.expected, Expected::Outcome(_)));
                fits(&golden, manifest, request, response, faults);
                goldens.push(golden);
            }
            Err(mut found) => {
                // One that is at fault elsewhere may be the one with the outcome.
                outcomes += 1;
                faults.append(&mut found);
            }
        }
    }
    if outcomes == 0 {
        faults.push(PackageFault::new(
            FOLDER,
            "",
            if goldens.is_empty() {
                "no golden examples"
            } else {
                "golden examples of rejections only"
            },
            "at least one request whose outcome is known, to be tried at every start",
            "run `inferq score` on the package with a request, check that the outcome is right, and write both to golden/first.json as {\"request\": …, \"outcome\": …}",
        ));
    }
    goldens
}

fn one(dir: &Path, file: &str) -> Result<Golden, Vec<PackageFault>> {
    let document = text(dir, file).and_then(|text| json(file, &text));
    let document = document.map_err(|fault| vec![fault])?;
    let spec: GoldenSpec = SHAPE.read(file, &document, Notation::Json)?;
    let mut faults = Vec::new();
    faults.extend(content_type(file, &spec));
    let object = match (spec.request, spec.picture) {
        (Some(value), None) => Ok(Object::from(value)),
        (None, Some(name)) => picture(dir, file, &name),
        (request, _) => Err(PackageFault::new(
            file,
            "",
            if request.is_some() { "both" } else { "neither" },
            "either request or picture",
            "write \"request\": {…}, or \"picture\": \"file.png\"",
        )),
    };
    let expected = match (spec.outcome, spec.rejection) {
        (Some(outcome), None) => Ok(Expected::Outcome(outcome)),
        (None, Some(code)) => Ok(Expected::Rejection(code)),
        (outcome, _) => Err(PackageFault::new(
            file,
            "",
            if outcome.is_some() { "both" } else { "neither" },
            "either outcome or rejection",
            "write \"outcome\": {…}, or \"rejection\": \"package:<code>\"",
        )),
    };
    let object = object.map_err(|fault| faults.push(fault));
    let expected = expected.map_err(|fault| faults.push(fault));
    match (object, expected) {
        (Ok(object), Ok(expected)) if faults.is_empty() => Ok(Golden {
            file: file.to_owned(),
            object,
            expected,
            tolerance: spec.tolerance.unwrap_or(TOLERANCE),
        }),
        _ => Err(faults),
    }
}

fn picture(dir: &Path, file: &str, name: &str) -> Result<Object, PackageFault> {
    if !is_inside(name) {
        return Err(PackageFault::new(
            file,
            "/picture",
            rendered(&name.into()),
            "the name of a file beside this one",
            "put the picture into golden/ and write its name",
        ));
    }
    let content = bytes(dir, &format!("{FOLDER}/{name}"), MAX_PICTURE)?;
    Ok(Object::Picture(Bytes::from(content)))
}

fn content_type(file: &str, spec: &GoldenSpec) -> Option<PackageFault> {
    let found = spec.content_type.as_deref()?;
    let expected = match &spec.picture {
        Some(_) if PICTURES.contains(&found) => return None,
        Some(_) => format!("one of {}", some(PICTURES.into_iter())),
        None => "none, for the request is no picture".into(),
    };
    let mend = "name the picture's type, or take content_type away";
    let found = rendered(&found.into());
    Some(PackageFault::new(
        file,
        "/content_type",
        found,
        expected,
        mend,
    ))
}

/// Checks an example against the rest of the package, as far as that could be read.
fn fits(
    golden: &Golden,
    manifest: Option<&Manifest>,
    request: Option<&RequestSchema>,
    response: Option<&Schema>,
    faults: &mut Vec<PackageFault>,
) {
    let (wanted, valid) = match &golden.expected {
        Expected::Outcome(_) => ("", true),
        Expected::Rejection(code) => (code.as_str(), code != "invalid_request"),
    };
    if let (Object::Value(value), Some(schema)) = (&golden.object, request) {
        let errors = schema.check(value).err().unwrap_or_default();
        // A threshold that cannot be looked up in a valid request is `invalid_request` as well.
        if valid {
            faults.extend(errors.into_iter().map(|error| {
                PackageFault::told(
                    &golden.file,
                    format!("/request{}", error.pointer),
                    format!("the request schema says: {}", error.detail),
                    "mend the example, or the schema",
                )
            }));
        }
    }
    if let (Expected::Outcome(outcome), Some(schema)) = (&golden.expected, response) {
        let errors = schema.check(outcome).err().unwrap_or_default();
        faults.extend(errors.into_iter().map(|error| {
            PackageFault::told(
                &golden.file,
                format!("/outcome{}", error.pointer),
                format!("the response schema says: {}", error.detail),
                "mend the example, or the schema",
            )
        }));
    }
    if let Some(manifest) = manifest.filter(|_| !wanted.is_empty()) {
        let own = manifest
            .rejection
            .keys()
            .map(|code| format!("package:{code}"));
        let known: Vec<_> = CODES.into_iter().map(str::to_owned).chain(own).collect();
        if known.iter().all(|code| code != wanted) {
            let names = || known.iter().map(String::as_str);
            faults.push(PackageFault::new(
                &golden.file,
                "/rejection",
                rendered(&wanted.into()),
                format!("one of {}", some(names())),
                advice(
                    wanted,
                    names(),
                    "declare the code in package.toml, as [rejection.<code>]",
                ),
            ));
        }
    }
}

impl Package {
    /// The rows of all golden examples: what requests make. Where they have sequences, the same rows with a half and a
    /// quarter of their steps as well: requests are of many lengths.
    #[must_use]
    pub fn example_rows(&self) -> Vec<Row> {
        // Side by side: few rows in a row are of all lengths.
        let lengths = |row: Row| {
            let parts = [2, 4].into_iter().filter(|part| row.length >= *part);
            let shortened = parts.map(|part| self.layout().shortened(&row, row.length / part));
            let shortened: Vec<_> = shortened.collect();
            std::iter::once(row).chain(shortened)
        };
        self.examples().flatten().flat_map(lengths).collect()
    }

    /// The most rows that a golden example makes; at least 1.
    #[must_use]
    pub fn example_size(&self) -> usize {
        let sizes = self.examples().map(|rows| rows.len());
        sizes.max().unwrap_or_default().max(1)
    }

    /// What each golden example makes that makes rows.
    fn examples(&self) -> impl Iterator<Item = Vec<Row>> {
        self.goldens().iter().filter_map(|golden| {
            let valid = self.validate(&golden.object);
            let (rows, _) = valid.and_then(|()| self.prepare(&golden.object)).ok()?;
            Some(rows)
        })
    }
}
