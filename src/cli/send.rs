//! `inferq send`: publish requests, await the replies, print them or a summary.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::StreamExt;
use serde_json::{Value, json};

use super::{Failed, config, input, runtime, score::progress_bar};
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
pub(super) struct Args {
    /// The package that is asked.
    #[arg(value_name = "PACKAGE")]
    package: String,
    /// Requests: .json (one), .ndjson or .jsonl (one a line), .msgpack, .png, .jpg, .webp; `-` or nothing
    /// reads standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The broker, as amqp://user:password@host:port/vhost.
    #[arg(long, value_name = "URL")]
    broker_url: Option<String>,
    /// Send this many requests, going round the given ones, and print a summary.
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Requests a second; as fast as the replies allow when absent.
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Requests that may await their reply at once.
    #[arg(long, value_name = "C", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    concurrency: u32,
    /// Give up on a reply after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    timeout: f64,
    /// Set the header inferq-deadline this many milliseconds from now; negative is already past.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    deadline_ms: Option<i64>,
    /// Pin a version of the package.
    #[arg(long, value_name = "VERSION")]
    version_pin: Option<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text
        .parse()
        .map_err(|_| "expected a number of requests a second".to_owned())?;
    (rate > 0.0 && rate.is_finite())
        .then_some(rate)
        .ok_or_else(|| "expected a rate above 0".to_owned())
}

/// One request's reply and how long it took, in seconds from the scheduled send.
struct Reply {
    source: String,
    kind: String,
    body: Value,
    latency: Duration,
}

pub(super) fn run(args: Args, file: Option<&Path>) -> Result<(), Failed> {
    let config = config(file, &[("broker.url", args.broker_url.clone())])?;
    let samples = input::read(&args.files).map_err(Failed::Data)?;
    runtime()?.block_on(async {
        let requester = Requester::connect(&config.broker)
            .await
            .map_err(unavailable)?;
        let done = send_all(&args, &requester, &samples).await;
        requester.close().await;
        done
    })
}

fn unavailable(fault: RequesterFault) -> Failed {
    match fault {
        RequesterFault::TooLong { .. } => Failed::Usage(fault.into()),
        _ => Failed::Unavailable(fault.into()),
    }
}

/// Sends on schedule, at most `concurrency` awaiting replies; prints replies as they come, or a summary.
async fn send_all(
    args: &Args,
    requester: &Requester,
    samples: &[input::Sample],
) -> Result<(), Failed> {
    let count = args.count.unwrap_or(samples.len());
    let progress = progress_bar(count);
    let started = Instant::now();
    let requests = samples.iter().cycle().take(count).enumerate();
    let mut replies = futures::stream::iter(requests)
        .map(|(at, sample)| async move {
            let scheduled = args
                .rate
                .map(|rate| started + Duration::from_secs_f64(at as f64 / rate));
            send_one(args, requester, sample, scheduled).await
        })
        .buffer_unordered(args.concurrency as usize);
    let mut summary = Summary::default();
    while let Some(reply) = replies.next().await {
        let reply = reply?;
        progress.inc(1);
        if args.count.is_some() {
            summary.add(&reply);
        } else {
            println!(
                "{}",
                json!({
                    "file": reply.source, "status": reply.kind, "body": reply.body,
                    "latency_ms": (reply.latency.as_secs_f64() * 1e5).round() / 1e2,
                })
            );
        }
    }
    progress.finish_and_clear();
    if args.count.is_some() {
        summary.print(started.elapsed());
    }
    Ok(())
}

async fn send_one(
    args: &Args,
    requester: &Requester,
    sample: &input::Sample,
    scheduled: Option<Instant>,
) -> Result<Reply, Failed> {
    if let Some(at) = scheduled {
        tokio::time::sleep_until(at.into()).await;
    }
    let from = scheduled.unwrap_or_else(Instant::now);
    let wait = Duration::from_secs_f64(args.timeout.max(0.0));
    let sent = requester.request(&args.package, sample.body.clone(), properties(args, sample));
    let (kind, body) = match tokio::time::timeout(wait, sent).await {
        Ok(Ok(response)) => read(&response),
        Ok(Err(fault)) => return Err(unavailable(fault)),
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
        Ok((Object::Value(body), _)) => body,
        Ok(_) | Err(_) => json!({ "unreadable_bytes": response.body.len() }),
    };
    (response.kind.clone().unwrap_or_default(), body)
}

/// What came of many requests.
#[derive(Default)]
struct Summary {
    kinds: BTreeMap<String, usize>,
    latencies: Vec<Duration>,
}

impl Summary {
    fn add(&mut self, reply: &Reply) {
        let code = reply.body.get("code").and_then(Value::as_str);
        let kind = match (reply.kind.as_str(), code) {
            ("rejection", Some(code)) => format!("rejection {code}"),
            (kind, _) => kind.to_owned(),
        };
        *self.kinds.entry(kind).or_default() += 1;
        self.latencies.push(reply.latency);
    }

    fn print(mut self, took: Duration) {
        for (kind, count) in &self.kinds {
            println!("{count:>10}  {kind}");
        }
        self.latencies.sort_unstable();
        let n = self.latencies.len();
        println!(
            "{:>10.0}  replies/s over {:.2} s",
            n as f64 / took.as_secs_f64(),
            took.as_secs_f64()
        );
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            let at = ((n as f64 * share).ceil() as usize).clamp(1, n.max(1)) - 1;
            if let Some(latency) = self.latencies.get(at) {
                println!("{:>10.2}  ms {name}", latency.as_secs_f64() * 1e3);
            }
        }
    }
}
