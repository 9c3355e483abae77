//! `inferq send`: publish requests, await the replies, print them or a summary.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use futures::StreamExt;
use serde_json::{Value, json};

use super::{
    Failed, block_on, config, input,
    output::{self, Progress},
    summary::Summary,
};
use crate::{
    broker::{Properties, Requester, RequesterFault, Response},
    message::{
        codec::{self, Limits},
        deadline::unix_ms,
        media::ContentType,
        object::Object,
    },
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints one JSON object a reply, as replies come: {\"file\", \"status\", \"body\", \"latency_ms\"}. With --count it
prints a summary instead: outcomes, rejections by code, replies a second, latency percentiles. With --rate
latency counts from when a request was due, so that a slow worker cannot hide behind a slow sender.
A rejection is an answer; a request without a reply makes the exit code 69.

Examples:
  inferq send fraud payment.json
  inferq send digits 3.png --deadline-ms 500
  inferq send fraud payments.ndjson --count 50000 --rate 2000 --concurrency 512")]
pub(super) struct Args {
    /// The package that is asked.
    #[arg(value_name = "PACKAGE", value_parser = name)]
    package: String,
    #[arg(value_name = "FILE", help = input::HELP)]
    files: Vec<PathBuf>,
    /// The broker, as amqp://user:password@host:port/vhost.
    #[arg(long, value_name = "URL")]
    broker_url: Option<String>,
    /// Send this many requests, going round the given ones, and print a summary.
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    count: Option<usize>,
    /// Requests a second; as fast as the replies allow when absent.
    #[arg(long, value_name = "R", value_parser = positive)]
    rate: Option<f64>,
    /// Requests that may await their reply at once.
    #[arg(long, value_name = "C", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    concurrency: u32,
    /// Give up on a reply after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = positive)]
    timeout: f64,
    /// Set the header inferq-deadline this many milliseconds from now; negative is already past.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    deadline_ms: Option<i64>,
    /// Pin a version of the package.
    #[arg(long, value_name = "VERSION")]
    version_pin: Option<String>,
}

/// A routing key of AMQP holds 255 bytes.
fn name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=255 => Ok(text.to_owned()),
        found => Err(format!(
            "found a name of {found} bytes, expected 1 to 255: AMQP carries no longer one"
        )),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "expected a whole number, 1 or more".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    let sound = (1e-6..=1e9).contains(&number);
    sound
        .then_some(number)
        .ok_or_else(|| "expected a number above 0, up to 1000000000".to_owned())
}

/// What became of one request.
struct Reply {
    source: String,
    /// `outcome`, `rejection`, `timeout`, `refused`.
    kind: String,
    /// `Null` where there is no reply.
    body: Value,
    latency: Duration,
}

impl Reply {
    fn unanswered(&self) -> bool {
        matches!(self.kind.as_str(), "timeout" | "refused")
    }
}

pub(super) fn run(args: &Args, file: Option<&Path>) -> Result<(), Failed> {
    let config = config(file, &[("broker.url", args.broker_url.clone())])?;
    let samples = input::read(&args.files).map_err(Failed::Data)?;
    block_on(async {
        let requester = Requester::connect(&config.broker)
            .await
            .map_err(unavailable)?;
        let done = send_all(args, &requester, &samples).await;
        requester.close().await;
        done
    })?
}

fn unavailable(fault: RequesterFault) -> Failed {
    match fault {
        RequesterFault::TooLong { .. } => Failed::Usage(fault.into()),
        RequesterFault::Connect(_) | RequesterFault::Refused | RequesterFault::Closed(_) => {
            Failed::Unavailable(fault.into())
        }
    }
}

/// Sends on schedule, at most `concurrency` awaiting replies; prints replies as they come, or a summary.
async fn send_all(
    args: &Args,
    requester: &Requester,
    samples: &[input::Sample],
) -> Result<(), Failed> {
    let count = args.count.unwrap_or(samples.len());
    let progress = Progress::of(count);
    let started = Instant::now();
    let requests = (0_u32..).zip(samples.iter().cycle().take(count));
    let mut replies = futures::stream::iter(requests)
        .map(|(at, sample)| async move {
            let due = args.rate.and_then(|rate| {
                let wait = Duration::try_from_secs_f64(f64::from(at) / rate).ok()?;
                started.checked_add(wait)
            });
            send_one(args, requester, sample, due).await
        })
        .buffer_unordered(args.concurrency as usize);
    let (mut summary, mut unanswered, mut ended) = (Summary::default(), 0_usize, Ok(()));
    while let Some(reply) = replies.next().await {
        let reply = match reply {
            Ok(reply) => reply,
            Err(fault) => {
                ended = Err(unavailable(fault));
                break;
            }
        };
        progress.step();
        unanswered += usize::from(reply.unanswered());
        if args.count.is_some() {
            add(&mut summary, &reply);
        } else {
            progress.line(shown(&reply))?;
        }
    }
    progress.finish();
    if args.count.is_some() {
        summary.finish(started.elapsed());
        output::line(summary)?;
    }
    ended?;
    match unanswered {
        0 => Ok(()),
        n => Err(Failed::Unavailable(anyhow!(
            "{n} of {count} requests got no reply; is a worker on the queue inferq.{}, and does --timeout give it time?",
            args.package
        ))),
    }
}

fn add(summary: &mut Summary, reply: &Reply) {
    let code = reply.body.get("code").and_then(Value::as_str);
    let kind = match (reply.kind.as_str(), code) {
        ("rejection", Some(code)) => format!("rejection {code}"),
        (kind, _) => kind.to_owned(),
    };
    summary.add(kind, (!reply.unanswered()).then_some(reply.latency));
}

fn shown(reply: &Reply) -> Value {
    json!({
        "file": reply.source, "status": reply.kind, "body": reply.body,
        "latency_ms": (reply.latency.as_secs_f64() * 1e5).round() / 1e2,
    })
}

async fn send_one(
    args: &Args,
    requester: &Requester,
    sample: &input::Sample,
    due: Option<Instant>,
) -> Result<Reply, RequesterFault> {
    if let Some(at) = due {
        tokio::time::sleep_until(at.into()).await;
    }
    let from = due.unwrap_or_else(Instant::now);
    let wait = Duration::from_secs_f64(args.timeout);
    let sent = requester.request(&args.package, sample.body.clone(), properties(args, sample));
    let (kind, body) = match tokio::time::timeout(wait, sent).await {
        Ok(Ok(response)) => read(&response),
        Ok(Err(RequesterFault::Refused)) => ("refused".to_owned(), Value::Null),
        Ok(Err(fault)) => return Err(fault),
        Err(_) => ("timeout".to_owned(), Value::Null),
    };
    Ok(Reply {
        source: sample.source.clone(),
        kind,
        body,
        latency: from.elapsed(),
    })
}

fn properties(args: &Args, sample: &input::Sample) -> Properties {
    let mut properties = Properties::default().with_content_type(sample.content_type);
    if let Some(offset) = args.deadline_ms {
        let deadline = unix_ms().saturating_add_signed(offset);
        properties = properties.with_header(
            "inferq-deadline",
            i64::try_from(deadline).unwrap_or(i64::MAX),
        );
    }
    if let Some(version) = &args.version_pin {
        properties = properties.with_header("inferq-version", version.as_str());
    }
    properties
}

/// The reply's kind and its body as JSON, whatever it was written in.
fn read(response: &Response) -> (String, Value) {
    // `application/problem+json` is none of a request's types; all that is no MessagePack is JSON.
    let packed =
        ContentType::parse(response.content_type.as_deref()) == Ok(ContentType::MessagePack);
    let content_type = packed.then_some("application/msgpack");
    let limits = Limits {
        request_bytes: usize::MAX,
        ..Limits::default()
    };
    let body = match codec::decode(content_type, None, &response.body, &limits) {
        Ok((Object::Value(document), _)) => document.root().to_value(),
        Ok(_) | Err(_) => json!({ "unreadable_bytes": response.body.len() }),
    };
    (response.kind.clone().unwrap_or_default(), body)
}
