//! `inferq config print`: the configuration as it takes effect.

use std::path::Path;

use clap::Subcommand;

use super::{Failed, config, output};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  INFERQ__INTAKE__ATTEMPTS=3 inferq config print")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the effective configuration as TOML, secrets hidden.
    Print,
}

pub(super) fn run(args: &Args, file: Option<&Path>) -> Result<(), Failed> {
    let What::Print = args.what;
    let text = config(file, &[])?
        .print()
        .map_err(|error| Failed::Internal(error.into()))?;
    output::line(text.trim_end())
}
