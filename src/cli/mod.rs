//! The command line: one file a subcommand.

mod check;
mod dead;
mod device;
mod input;
mod output;
mod print;
mod profile;
mod schema;
mod score;
mod send;
mod serve;
mod summary;
mod topology;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use crate::{
    config::{Config, ConfigFault},
    predict::{disable_reports, wait_for_gpus},
};

pub use schema::{Name as SchemaName, schema};

/// The inference worker for RabbitMQ: business objects in, business decisions out.
#[derive(Debug, Parser)]
#[command(name = "inferq", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Configuration file, TOML [default: config/inferq.toml where it exists].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Configuration:
  Flags beat environment variables (INFERQ__SECTION__KEY, as in INFERQ__BROKER__URL), which beat the
  file. A secret may stand in a file of its own: broker.url_file, INFERQ__BROKER__URL_FILE.
  `inferq config print` shows what takes effect.

Exit codes:
  0 done, 64 bad usage or configuration, 65 bad data, 69 broker or dependency unavailable, 70 internal

Example:
  inferq check packages/fraud/1.0.0
  inferq serve --repository packages
  inferq send fraud payment.json";

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests from RabbitMQ until told to stop.
    Serve(serve::Args),
    /// Explain every fault in a package: file, key, found, expected, how to mend it.
    Check(check::Args),
    /// Time batches of a package on this machine: the best size, as a table, SVG or JSON.
    Profile(profile::Args),
    /// Score requests in this process, without a broker: one reply a line.
    Score(score::Args),
    /// Publish requests, await the replies, print them or a summary.
    Send(send::Args),
    /// Make the broker's exchanges and queues, or print them as a definitions file.
    Topology(topology::Args),
    /// List, show, replay or purge what could not be answered.
    Dead(dead::Args),
    /// Show the configuration as it takes effect.
    Config(print::Args),
    /// Print the JSON Schema of what inferq reads or writes.
    Schema(schema::Args),
    #[command(name = device::TRY, hide = true)]
    TryDevice(device::Args),
}

/// A session on a GPU that takes longer to go is left there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a command did not do all that it was asked, by exit code (the BSD `sysexits` that scripts know).
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
    /// 0: whoever reads the output has read enough.
    Enough,
}

impl From<ConfigFault> for Failed {
    fn from(fault: ConfigFault) -> Self {
        Failed::Usage(fault.into())
    }
}

/// Runs the command line of this process; to be called first thing, while it has one thread.
#[must_use]
#[expect(
    unsafe_code,
    reason = "the environment is changed before anyone can read it"
)]
pub fn main() -> ExitCode {
    // SAFETY: nothing has started a thread yet.
    unsafe { disable_reports() };
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody reads to its end has helped.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let done = run(cli);
    wait_for_gpus(PATIENCE);
    let (code, error) = match done {
        Ok(()) | Err(Failed::Enough) => return ExitCode::SUCCESS,
        Err(Failed::Usage(error)) => (64, error),
        Err(Failed::Data(error)) => (65, error),
        Err(Failed::Unavailable(error)) => (69, error),
        Err(Failed::Internal(error)) => (70, error),
    };
    output::note(format_args!("inferq: {}", told(&error)));
    ExitCode::from(code)
}

/// An error and its causes, without those that it says itself.
fn told(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            told.push_str(": ");
            told.push_str(&cause);
        }
    }
    told
}

fn run(cli: Cli) -> Result<(), Failed> {
    let file = cli.config.as_deref();
    match cli.command {
        Command::Serve(args) => serve::run(args, file),
        Command::Check(args) => check::run(&args, file),
        Command::Profile(args) => profile::run(&args, file),
        Command::Score(args) => score::run(&args, file),
        Command::Send(args) => send::run(&args, file),
        Command::Topology(args) => topology::run(args, file),
        Command::Dead(args) => dead::run(args, file),
        Command::Config(args) => print::run(&args, file),
        Command::Schema(args) => schema::run(&args),
        Command::TryDevice(args) => device::run(&args, file),
    }
}

/// The configuration of a command: file, environment, then the flags that were given as `(key, value)`.
fn config(
    file: Option<&std::path::Path>,
    flags: &[(&str, Option<String>)],
) -> Result<Config, Failed> {
    Ok(Config::load(file, std::env::vars_os(), flags)?)
}

/// Runs `work` on an event loop of its own. It has a thread for every other core: the sessions, lapin's I/O and
/// pictures have theirs besides. tokio's `TOKIO_WORKER_THREADS` sets another number.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failed> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        builder.worker_threads(cores.div_ceil(2));
    }
    let runtime = builder.enable_all().build().map_err(|error| {
        Failed::Internal(anyhow::Error::new(error).context("cannot start the event loop"))
    })?;
    let done = runtime.block_on(work);
    // The process ends now, and the loop with it. To end it sooner would take the clock from lapin's I/O thread,
    // which outlives a connection that failed and panics without one.
    std::mem::forget(runtime);
    Ok(done)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_that_the_error_says_itself_is_not_said_again() {
        let error = |text| anyhow!("no such file").context(text);
        let quoting = error("a.toml cannot be read (no such file); name another");
        assert_eq!(told(&quoting), quoting.to_string());
        assert_eq!(told(&error("a.toml")), "a.toml: no such file");
    }
}
