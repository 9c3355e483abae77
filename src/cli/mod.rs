//! The command line: one file a subcommand.

mod check;
mod input;
mod print;
mod score;
mod send;
mod serve;
mod topology;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigFault};

/// The inference worker for RabbitMQ: business objects in, business decisions out.
#[derive(Debug, Parser)]
#[command(
    name = "inferq",
    version,
    after_help = "Configuration: flags beat INFERQ__SECTION__KEY environment variables, which beat the configuration \
file (config/inferq.toml where it exists, or --config).\n\
Exit codes: 0 done, 64 bad usage or configuration, 65 bad data, 69 broker or dependency unavailable, 70 internal."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Configuration file, TOML.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests from RabbitMQ until told to stop (SIGTERM drains; a second one stops at once).
    Serve(serve::Args),
    /// Explain every fault in a package: file, key, found, expected, how to mend it.
    Check(check::Args),
    /// Score requests in this process, without a broker: one reply a line.
    Score(score::Args),
    /// Publish requests, await the replies, print them or a summary.
    Send(send::Args),
    /// Make the broker's exchanges and queues, or print them as a definitions file.
    Topology(topology::Args),
    /// Show the configuration as it takes effect.
    Config(print::Args),
}

/// Why a command did not do what it was asked, by exit code (the BSD `sysexits` that scripts know).
#[derive(Debug)]
enum Failed {
    /// 64: bad usage or configuration.
    Usage(anyhow::Error),
    /// 65: bad data.
    Data(anyhow::Error),
    /// 69: broker or dependency unavailable.
    Unavailable(anyhow::Error),
    /// 70: internal.
    Internal(anyhow::Error),
}

impl From<ConfigFault> for Failed {
    fn from(fault: ConfigFault) -> Self {
        Failed::Usage(fault.into())
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = !error.use_stderr();
            if error.print().is_err() || !asked {
                return ExitCode::from(64);
            }
            return ExitCode::SUCCESS;
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            let (code, error) = match failed {
                Failed::Usage(error) => (64, error),
                Failed::Data(error) => (65, error),
                Failed::Unavailable(error) => (69, error),
                Failed::Internal(error) => (70, error),
            };
            eprintln!("inferq: {error:#}");
            ExitCode::from(code)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failed> {
    let file = cli.config.as_deref();
    match cli.command {
        Command::Serve(args) => serve::run(args, file),
        Command::Check(args) => check::run(&args, file),
        Command::Score(args) => score::run(args, file),
        Command::Send(args) => send::run(args, file),
        Command::Topology(args) => topology::run(args, file),
        Command::Config(args) => print::run(args, file),
    }
}

/// The configuration of a command: file, environment, then the flags that were given as `(key, value)`.
fn config(
    file: Option<&std::path::Path>,
    flags: &[(&str, Option<String>)],
) -> Result<Config, Failed> {
    Ok(Config::load(file, std::env::vars(), flags)?)
}

/// The event loop that a command runs on.
fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    tokio::runtime::Runtime::new().map_err(|error| {
        Failed::Internal(anyhow::Error::new(error).context("cannot start the event loop"))
    })
}
