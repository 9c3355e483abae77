//! `inferq schema`: JSON Schemas, made from the types that read and write what they describe.

use schemars::schema_for;
use serde_json::{Value, json};

use super::{Failed, output};
use crate::{
    admin::Status, config::Config, message::problem::problem_schema, package::manifest_schema,
};

/// What has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// The body of a reply of type `rejection`.
    Rejection,
    /// A package's manifest, `package.toml`.
    Package,
    /// The configuration file.
    Config,
    /// What `/status` answers.
    Status,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  inferq schema package > package.schema.json")]
pub(super) struct Args {
    #[arg(value_name = "NAME")]
    name: Name,
}

/// The JSON Schema 2020-12 of `name`.
#[must_use]
pub fn schema(name: Name) -> Value {
    let (id, title, description, schema) = match name {
        Name::Rejection => (
            "rejection",
            "Rejection",
            "The body of a reply whose type is `rejection`: RFC 9457 problem details with inferq's members.",
            problem_schema(),
        ),
        Name::Package => (
            "package",
            "Package manifest",
            "A package's `package.toml`: who it is, how a request becomes the model's inputs, how outputs become \
             an outcome, how rows are batched.",
            manifest_schema(),
        ),
        Name::Config => (
            "config",
            "Configuration",
            "The configuration file of `inferq`, in TOML.",
            Config::schema(),
        ),
        Name::Status => (
            "status",
            "Status",
            "What a worker answers on `/status`. Holds no content of any request.",
            schema_for!(Status).to_value(),
        ),
    };
    let mut whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:inferq:schema:{id}:1"),
        "title": title,
        "description": description,
    });
    if let (Some(whole), Value::Object(mut members)) = (whole.as_object_mut(), schema) {
        for key in ["$schema", "title", "description"] {
            members.remove(key);
        }
        whole.extend(members);
    }
    whole
}

pub(super) fn run(args: &Args) -> Result<(), Failed> {
    let text = serde_json::to_string_pretty(&schema(args.name));
    output::line(text.map_err(|error| Failed::Internal(error.into()))?)
}
