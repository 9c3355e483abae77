//! `inferq config print`: the configuration as it takes effect.

use std::path::Path;

use clap::Subcommand;

use super::{Failed, config};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the effective configuration as TOML, secrets hidden.
    Print,
    /// Print the JSON Schema of the configuration file.
    Schema,
}

pub(super) fn run(args: Args, file: Option<&Path>) -> Result<(), Failed> {
    let text = match args.what {
        What::Print => config(file, &[])?
            .print()
            .map_err(|e| Failed::Internal(e.into()))?,
        What::Schema => serde_json::to_string_pretty(&schemars::schema_for!(Config))
            .map_err(|e| Failed::Internal(e.into()))?,
    };
    println!("{}", text.trim_end());
    Ok(())
}
