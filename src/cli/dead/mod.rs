//! `inferq dead`: look at dead letters, send them again, remove them.

mod age;
mod filter;
mod list;
mod notes;
mod purge;
mod replay;
mod scan;
mod show;

use std::path::Path;

use clap::Subcommand;

use super::{Failed, block_on, config, output};
use crate::{
    broker::{Letters, LettersFault},
    message::name::valid_package_name,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
PACKAGE is a package's name; `unknown` for requests of packages that nobody serves, `died` for what the broker
gave up on and no package is known of. Only `replay` and `purge` change anything: while a command runs the
letters it looks at are in its hand, afterwards those left are back in their place. It may be interrupted at any
time. A package without dead letters is no error.

Examples:
  inferq dead list fraud --reason model_fault --newer-than 1h
  inferq dead show fraud 7f3c --body request.json
  inferq dead replay fraud --reason dependency_fault --deadline 30s
  inferq dead purge fraud --older-than 30d --yes")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// The broker, as amqp://user:password@host:port/vhost.
    #[arg(long, value_name = "URL", global = true)]
    broker_url: Option<String>,
    /// Print JSON: an object a letter or, of `purge`, one.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A line a letter, and how many there are of each reason.
    List(list::Args),
    /// One letter whole: properties, headers, body.
    Show(show::Args),
    /// Publish letters as requests again; each is removed once the broker has confirmed its request.
    Replay(replay::Args),
    /// Remove letters for good.
    Purge(purge::Args),
}

pub(super) fn run(args: Args, file: Option<&Path>) -> Result<(), Failed> {
    let mut flags = vec![("broker.url", args.broker_url)];
    if let What::Replay(replay) = &args.what {
        flags.push(("repository.dir", replay.repository.clone()));
    }
    let config = config(file, &flags)?;
    let json = args.json;
    block_on(async {
        match args.what {
            What::List(args) => list::run(&args, &config, json).await,
            What::Show(args) => show::run(&args, &config, json).await,
            What::Replay(args) => replay::run(&args, &config, json).await,
            What::Purge(args) => purge::run(&args, &config, json).await,
        }
    })?
}

/// Whose dead letters: a package's, or nobody's.
fn owner(text: &str) -> Result<String, String> {
    if matches!(text, "unknown" | "died") {
        return Ok(text.to_owned());
    }
    package(text)
}

fn package(text: &str) -> Result<String, String> {
    valid_package_name(text)
        .map(|()| text.to_owned())
        .map_err(|fault| fault.to_string())
}

/// Says what the letters in hand do not tell.
async fn open(config: &crate::broker::Config, package: &str) -> Result<Letters, Failed> {
    let letters = Letters::open(config, package).await.map_err(unavailable)?;
    let others = match letters.others() {
        0 => None,
        1 => Some("1 other reader has".to_owned()),
        others => Some(format!("{others} other readers have")),
    };
    if let Some(others) = others {
        output::note(format_args!(
            "inferq: {others} letters of {package} in hand; they are not seen here until given back"
        ));
    }
    if letters.queue().is_none() {
        output::note(format_args!(
            "inferq: no queue for dead letters of {package}: nothing of that name has died here"
        ));
    }
    Ok(letters)
}

fn unavailable(fault: LettersFault) -> Failed {
    Failed::Unavailable(fault.into())
}

/// `1 letter`, `2 letters`.
fn letters(count: usize) -> String {
    format!("{count} letter{}", if count == 1 { "" } else { "s" })
}
