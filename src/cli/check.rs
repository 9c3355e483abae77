//! `inferq check`: every fault of a package, explained to the person who wrote it.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::{Failed, config};
use crate::{predict::Library, repository::load_package};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The package's directory: <repository>/<name>/<version>.
    #[arg(value_name = "PACKAGE_DIR")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args, file: Option<&Path>) -> Result<(), Failed> {
    let config = config(file, &[])?;
    let library = Library::open(config.runtime.library.as_deref())
        .map_err(|fault| Failed::Unavailable(fault.into()))?;
    match load_package(&library, &args.dir) {
        Ok(live) => {
            for warning in &live.warnings {
                eprintln!("warning: {warning}");
            }
            let package = &live.package;
            println!(
                "{}@{} is fit to go live: {} golden examples pass alone, at full batch and among other rows\ndigest sha256:{}",
                package.name(),
                package.version(),
                package.goldens().len(),
                package.digest(),
            );
            Ok(())
        }
        Err(faults) => {
            for fault in &faults {
                println!("{fault}");
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
