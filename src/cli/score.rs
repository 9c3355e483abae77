//! `inferq score`: a package on files or standard input, in this process, without a broker.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use futures::StreamExt;
use serde_json::{Value, json};

use super::{Failed, block_on, config, device, input, output::Progress};
use crate::{
    engine::{Engine, Request},
    fault::Failure,
    message::{
        codec::{self, Limits},
        problem::Problem,
        rejection::Rejection,
        reply::outcome_body,
        request::Head,
    },
    package::Package,
    repository::{Repository, load_package},
};

/// Requests in flight: enough for full batches.
const CONCURRENCY: usize = 1024;

/// Nobody waits for an answer to a file.
const PATIENCE: Duration = Duration::from_secs(7 * 86_400);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A .ndjson or .jsonl file holds one request a line, a .msgpack file one after another; standard input is told by
its first bytes. Prints one JSON object a request, in the order given, with \"file\", \"status\" (outcome or
rejection) and \"body\". A rejection is an answer, not a failure: the exit code is 0.

Examples:
  inferq score packages/fraud/1.0.0 payments.ndjson > verdicts.ndjson
  inferq score packages/digits/1.0.0 *.png
  echo '{\"amount\": 12.5}' | inferq score packages/fraud/1.0.0 -")]
pub(super) struct Args {
    /// The package's directory.
    #[arg(value_name = "PACKAGE_DIR")]
    dir: PathBuf,
    #[arg(value_name = "FILE", help = input::HELP)]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &Args, file: Option<&Path>) -> Result<(), Failed> {
    let config = config(file, &[])?;
    let samples = input::read(&args.files).map_err(Failed::Data)?;
    let library = device::library(&config)?;
    let live = load_package(&library, &args.dir).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failed::Data(anyhow!("{}: {}", args.dir.display(), lines.join("\n")))
    })?;
    let package = live.package.clone();
    let mut repository = Repository::new(library);
    repository.add(live);
    let engine = Engine::new(repository);
    block_on(score_all(&engine, &package, samples))?
}

/// One line a request, in the order given.
async fn score_all(
    engine: &Engine,
    package: &Package,
    samples: Vec<input::Sample>,
) -> Result<(), Failed> {
    // Never so many that the package's own queue refuses some.
    let room = package.batch().queue_limit / package.limits().max_rows.max(1);
    let progress = Progress::of(samples.len());
    let mut lines = futures::stream::iter(samples)
        .map(|sample| score_one(engine, package, sample))
        .buffered(room.clamp(1, CONCURRENCY));
    while let Some(line) = lines.next().await {
        progress.line(line)?;
        progress.step();
    }
    progress.finish();
    Ok(())
}

async fn score_one(engine: &Engine, package: &Package, sample: input::Sample) -> Value {
    let (kind, body) = match score_with(engine, package, &sample).await {
        Ok(outcome) => ("outcome", outcome),
        Err(rejection) => {
            let (name, version) = (package.name(), package.version());
            let problem = Problem::new(&rejection, None, Some(name), Some(version));
            // A struct of strings and numbers always serialises.
            let body = serde_json::to_value(problem).unwrap_or_default();
            ("rejection", body)
        }
    };
    json!({ "file": sample.source, "status": kind, "body": body })
}

async fn score_with(
    engine: &Engine,
    package: &Package,
    sample: &input::Sample,
) -> Result<Value, Rejection> {
    let takes = Limits {
        request_bytes: package.limits().request_bytes,
        accepts_pictures: package.plan().accepts_pictures(),
        ..Limits::default()
    };
    let (object, _) = codec::decode(Some(sample.content_type), None, &sample.body, &takes)?;
    let request = Request {
        object,
        deadline: Some(Instant::now() + PATIENCE),
        ..Request::new(package.name(), Value::Null)
    };
    let outcome = engine.score(request).await.result.map_err(own)?;
    let head = Head {
        content_type: Some(sample.content_type),
        ..Head::default()
    };
    outcome_body(
        &outcome,
        head.reply_encoding(),
        package.limits().reply_bytes,
    )?;
    Ok(outcome)
}

/// Who scores in this process is the package's operator: a fault is told in its own words.
fn own(failure: Failure) -> Rejection {
    match failure {
        Failure::Rejected(rejection) => rejection,
        Failure::Faulted(fault) => Rejection::new(fault.kind.code(), fault.stage, fault.detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fault::{Fault, FaultKind},
        message::rejection::Stage,
    };

    #[test]
    fn a_fault_is_told_in_its_own_words_and_sends_nobody_to_the_dead_letters() {
        let fault = Fault::model(Stage::Predict, "output `p` holds NaN");
        let told = own(fault.into());
        assert_eq!(told.code, FaultKind::Model.code());
        assert_eq!(told.detail, "output `p` holds NaN");
    }
}
