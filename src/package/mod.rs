//! A package: manifest, model, schemas, golden examples.
//!
//! [`Package::read`] finds every fault that needs no model, [`PackageFiles::bind`] every one between manifest and
//! model, [`Package::rehearse`] whether the model gives the answers that the golden examples know. Faults come all
//! at once, in the words of the person who wrote the package. A [`Package`] never changes.

mod alternatives;
mod bind;
mod by_name;
mod checks;
mod compare;
mod digest;
mod documents;
mod doubts;
mod examples;
mod explain;
mod fault;
mod files;
mod golden;
mod keywords;
mod manifest;
mod refs;
mod rehearsal;
mod schema;
mod shape;
mod strangers;
#[cfg(test)]
mod tests;
mod words;

use std::path::{Path, PathBuf};

use serde_json::Value;

use self::files::Reading;
pub use self::{
    by_name::{Misread, Misreading, by_name},
    compare::{Difference, difference},
    digest::Digest,
    fault::PackageFault,
    files::PackageFiles,
    golden::{Expected, Golden},
    manifest::{
        Batch, FORMAT, Limits, LimitsSpec, MANIFEST, Manifest, Sessions, ShareSpec, manifest_schema,
    },
    rehearsal::BatchSensitive,
    schema::{RequestSchema, Schema},
};
use crate::{
    decision::{self, Thresholds},
    fault::{Failure, Fault},
    message::{
        object::Object,
        rejection::{Code, Rejection, Stage},
    },
    representation,
    tensor::{Row, RowLayout, RowOutputs},
};

/// One version of a package, found right: how its requests become rows, and its rows outcomes.
#[derive(Debug)]
pub struct Package {
    files: PackageFiles,
    limits: Limits,
    layout: RowLayout,
    plan: representation::Plan,
    decision: decision::Plan,
}

impl Package {
    /// Reads the package in `dir`.
    ///
    /// # Errors
    /// Every fault that can be found without opening the model.
    pub fn read(dir: &Path) -> Result<PackageFiles, Vec<PackageFault>> {
        files::read(dir, Reading::default())
    }

    /// Reads a package of a repository: `dir` must be `<name>/<version>`.
    ///
    /// # Errors
    /// As [`Package::read`].
    pub fn placed(dir: &Path) -> Result<PackageFiles, Vec<PackageFault>> {
        let reading = Reading {
            placed: true,
            ..Reading::default()
        };
        files::read(dir, reading)
    }

    /// The fault of a folder in a repository that has no manifest.
    pub(crate) fn without_manifest(dir: &Path) -> PackageFault {
        let mut fault = files::absent(dir, MANIFEST);
        fault.mend += ", or move the folder out of the repository";
        fault
    }

    /// Reads a package whose golden examples are still to be written: they are not looked at.
    ///
    /// # Errors
    /// As [`Package::read`].
    pub fn draft(dir: &Path) -> Result<PackageFiles, Vec<PackageFault>> {
        let reading = Reading {
            draft: true,
            ..Reading::default()
        };
        files::read(dir, reading)
    }

    /// The package's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.files.manifest.name
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.files.manifest.version
    }

    /// Digest of all its files.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.files.digest
    }

    /// What `package.toml` says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.files.manifest
    }

    /// How much a request may ask for.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How rows run together. Where [`Package::rehearse`] says so, `max_size` must be 1 instead.
    #[must_use]
    pub fn batch(&self) -> Batch {
        self.files.manifest.batch
    }

    /// How many sessions run the model, where its manifest says that.
    #[must_use]
    pub fn sessions(&self) -> Option<Sessions> {
        self.files.manifest.sessions
    }

    /// Path of the ONNX file.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.files.model()
    }

    /// Bytes of all its files: about what a session's weights take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.bytes
    }

    /// What it is given of a device, by its manifest.
    #[must_use]
    pub fn share(&self) -> ShareSpec {
        self.files.manifest.share
    }

    /// Where each model input lies in a row.
    #[must_use]
    pub fn layout(&self) -> &RowLayout {
        &self.layout
    }

    /// How a request becomes rows.
    #[must_use]
    pub fn plan(&self) -> &representation::Plan {
        &self.plan
    }

    /// How output rows become an outcome.
    #[must_use]
    pub fn decision(&self) -> &decision::Plan {
        &self.decision
    }

    /// What a request must look like.
    #[must_use]
    pub fn request_schema(&self) -> &RequestSchema {
        &self.files.request_schema
    }

    /// What an outcome looks like.
    #[must_use]
    pub fn response_schema(&self) -> &Schema {
        &self.files.response_schema
    }

    /// Requests whose answers are known.
    #[must_use]
    pub fn goldens(&self) -> &[Golden] {
        &self.files.goldens
    }

    /// Checks a request against the package's schema. A raw picture has none: what it must be is checked while it
    /// is represented.
    ///
    /// # Errors
    /// `invalid_request`, with the places at fault.
    pub fn validate(&self, object: &Object) -> Result<(), Rejection> {
        let Object::Value(value) = object else {
            return Ok(());
        };
        self.request_schema().check(value).map_err(|errors| {
            let first = errors.first().map(|error| match error.pointer.as_str() {
                "" => error.detail.clone(),
                pointer => format!("{pointer}: {}", error.detail),
            });
            let first = first.unwrap_or_default();
            let detail = match errors.len() {
                0 | 1 => first,
                n => format!("{n} places are at fault; the first: {first}"),
            };
            let mut rejection = Rejection::new(Code::InvalidRequest, Stage::Validate, detail);
            rejection.errors = errors;
            rejection
        })
    }

    /// What its author should look at, although nothing of it is wrong.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        doubts::of(self)
    }

    /// Turns a valid request into rows.
    ///
    /// # Errors
    /// `unrepresentable`, or a code of the package's own.
    pub fn represent(&self, object: &Object) -> Result<Vec<Row>, Rejection> {
        self.plan.represent(object)
    }

    /// All that is needed of a valid request: its rows, and what it says of its decision.
    ///
    /// # Errors
    /// See [`represent`](Self::represent) and [`decision::Plan::thresholds`].
    pub fn prepare(&self, object: &Object) -> Result<(Vec<Row>, Thresholds), Rejection> {
        Ok((self.represent(object)?, self.decision.thresholds(object)?))
    }

    /// Turns a request's output rows, in the order of its rows, into its outcome.
    ///
    /// # Errors
    /// See [`decision::Plan::decide`].
    pub fn decide(&self, thresholds: &Thresholds, rows: &[RowOutputs]) -> Result<Value, Failure> {
        self.decision.decide(thresholds, rows)
    }

    /// Holds an outcome against the response schema, which is promised to whoever reads it.
    ///
    /// # Errors
    /// A model fault that names the places at fault by their pointers, and no values.
    pub fn conform(&self, outcome: &Value) -> Result<(), Fault> {
        self.response_schema().check(outcome).map_err(|errors| {
            let places = errors.iter().map(|error| match error.pointer.as_str() {
                "" => "the whole of it",
                pointer => pointer,
            });
            let mut places: Vec<_> = places.collect();
            places.dedup();
            Fault::model(
                Stage::Decide,
                format!(
                    "the outcome is not what {} allows, at {}; mend the schema, or what the model gives",
                    self.manifest().response_schema,
                    places.join(", ")
                ),
            )
        })
    }
}
