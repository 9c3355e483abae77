//! `inferq score`: a package on files or standard input, in this process, without a broker.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use futures::StreamExt;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::{Failed, config, input, runtime};
use crate::{
    engine::{Engine, Request},
    fault::Failure,
    message::{
        codec::{self, Limits},
        problem::Problem,
        rejection::Rejection,
    },
    package::Package,
    predict::Library,
    repository::{Repository, load_package},
};

/// Requests in flight: enough for full batches.
const CONCURRENCY: usize = 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The package's directory.
    #[arg(value_name = "PACKAGE_DIR")]
    dir: PathBuf,
    /// Requests: .json (one), .ndjson or .jsonl (one a line), .msgpack, .png, .jpg, .webp; `-` or nothing
    /// reads standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: Args, file: Option<&Path>) -> Result<(), Failed> {
    let config = config(file, &[])?;
    let samples = input::read(&args.files).map_err(Failed::Data)?;
    let library = Library::open(config.runtime.library.as_deref())
        .map_err(|fault| Failed::Unavailable(fault.into()))?;
    let live = load_package(&library, &args.dir).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failed::Data(anyhow!("{}", lines.join("\n")))
    })?;
    let mut repository = Repository::new(library);
    let name = live.package.name().to_owned();
    repository.add(live);
    let engine = Engine::new(repository);
    runtime()?
        .block_on(score_all(&engine, &name, samples))
        .map_err(Failed::Internal)
}

/// One line a request, in the order given.
async fn score_all(engine: &Engine, name: &str, samples: Vec<input::Sample>) -> anyhow::Result<()> {
    let progress = progress_bar(samples.len());
    let mut lines = futures::stream::iter(samples)
        .map(|sample| score_one(engine, name, sample))
        .buffered(CONCURRENCY);
    let mut out = std::io::stdout().lock();
    while let Some(line) = lines.next().await {
        writeln!(out, "{line}").context("standard output is closed")?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(())
}

async fn score_one(engine: &Engine, name: &str, sample: input::Sample) -> Value {
    let result = match engine.repository().resolve(name, None) {
        Ok(live) => score_with(engine, &live.package, &sample).await,
        Err(rejection) => Err(rejection),
    };
    let (kind, body) = match result {
        Ok(outcome) => ("outcome", outcome),
        Err(rejection) => {
            let problem = Problem::new(&rejection, None, Some(name), None);
            (
                "rejection",
                serde_json::to_value(problem).unwrap_or_default(),
            )
        }
    };
    json!({ "file": sample.source, "status": kind, "body": body })
}

async fn score_with(
    engine: &Engine,
    package: &Package,
    sample: &input::Sample,
) -> Result<Value, Rejection> {
    let limits = package.limits();
    let limits = Limits {
        request_bytes: limits.request_bytes,
        accepts_pictures: package.plan().accepts_pictures(),
        ..Limits::default()
    };
    let (object, _) = codec::decode(Some(sample.content_type), None, &sample.body, &limits)?;
    let request = Request {
        object,
        ..Request::new(package.name(), Value::Null)
    };
    engine
        .score(request)
        .await
        .result
        .map_err(|failure| match failure {
            Failure::Rejected(rejection) => rejection,
            Failure::Faulted(fault) => {
                eprintln!("inferq: {}: {fault}", sample.source);
                fault.rejection()
            }
        })
}

/// Shown only where somebody watches and there is something to wait for.
pub(super) fn progress_bar(length: usize) -> ProgressBar {
    if length > 1 && std::io::stderr().is_terminal() {
        ProgressBar::new(length as u64)
    } else {
        ProgressBar::hidden()
    }
}
