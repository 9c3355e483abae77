//! `inferq check`: every fault of a package, explained to the person who wrote it.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::{Failed, config, device, output};
use crate::repository::load_package;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads the manifest, the schemas and the golden examples, opens the model, and runs every golden example alone,
at full batch and among other rows. Faults go to standard output, one a line; then the exit code is 65.

Example:
  inferq check packages/fraud/1.0.0")]
pub(super) struct Args {
    /// The package's directory: <repository>/<name>/<version>.
    #[arg(value_name = "PACKAGE_DIR")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args, file: Option<&Path>) -> Result<(), Failed> {
    let config = config(file, &[])?;
    let library = device::library(&config)?;
    match load_package(&library, &args.dir) {
        Ok(live) => {
            for warning in &live.warnings {
                output::note(format_args!("warning: {warning}"));
            }
            let package = &live.package;
            let how = if live.max_size() > 1 {
                "alone, at full batch and among other rows"
            } else {
                "alone, as its rows run one by one"
            };
            let pass = match package.goldens().len() {
                1 => "1 golden example passes".to_owned(),
                n => format!("{n} golden examples pass"),
            };
            output::line(format_args!(
                "{}@{} is fit to go live: {pass} {how}\ndigest sha256:{}",
                package.name(),
                package.version(),
                package.digest(),
            ))
        }
        Err(faults) => {
            for fault in &faults {
                output::line(fault)?;
            }
            let plural = if faults.len() == 1 { "fault" } else { "faults" };
            Err(Failed::Data(anyhow!(
                "{}: {} {plural}; the package does not go live",
                args.dir.display(),
                faults.len()
            )))
        }
    }
}
