//! A load far below what the worker can do, open loop: requests come at random (Poisson), whether or not those before
//! are answered, and time counts from when each was due.

use crate::load;
use crate::options::Options;
use crate::report::{self, Row, Spread};
use crate::subject::Subject;
use crate::trial::{self, Queues, Site};
use crate::wire;
use crate::worker::Worker;
use anyhow::{Context, Result, bail};
use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::sync::mpsc;

/// Enough to know what the worker can do.
const BACKLOG: u64 = 20_000;
/// A tenth of that.
const SHARE: f64 = 0.1;
const LASTS: Duration = Duration::from_secs(20);
/// At first the worker has credit for one: these do not count.
const WARM: Duration = Duration::from_secs(2);
/// Channels that publish, each one message at a time.
const CHANNELS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(10);
/// A tenth of the worker's load is most of two cores' for the broker, to which few messages at a time cost more each. So
/// it is measured again with a priority that has the worker wait for no core.
const FIRST: i8 = -15;

pub async fn run(options: &Options, site: &Site, inferq: &Subject) -> Result<()> {
    let backlog = options.requests.unwrap_or(BACKLOG);
    report::heading();
    let most = trial::run(site, inferq, backlog).await?;
    report::line("inferq, a backlog", &most);
    let rate = most.round_trips_per_s * SHARE;
    println!("{rate:.0} requests a second for {LASTS:?}");

    let mut rows = Vec::new();
    for priority in [None, Some(FIRST)] {
        let queues = Queues::open(site, inferq).await?;
        let mut command = inferq.command(site, &queues.request)?;
        let mut subject = "inferq".to_owned();
        if let Some(priority) = priority {
            subject = format!("inferq, nice {priority}");
            let Some(first) = nice(priority, &command).await? else {
                println!("{subject}: not allowed here");
                queues.close().await?;
                continue;
            };
            command = first;
        }
        let mut worker = Worker::start(command, inferq.log(site))?;
        let measured = tokio::select! {
            measured = offer(site, &queues, rate) => measured,
            error = worker.ended() => Err(error),
        };
        worker.stop().await?;
        queues.close().await?;
        let Times { inside, around } = measured?;
        rows.extend(told(&subject, "in the worker, without the run", inside));
        rows.extend(told(&subject, "from when it was due to the reply", around));
    }
    let results = json!({ "requests_per_s": rate });
    report::write(site, "light_load", &rows, &results)
}

/// The command with this priority, as `nice` has it; none where that is not allowed.
async fn nice(priority: i8, command: &Command) -> Result<Option<Command>> {
    let run = || {
        let mut nice = Command::new("nice");
        nice.args(["-n", &priority.to_string()]);
        nice
    };
    // Where it may not, it says so and goes on without.
    let probe = run().arg("true").output().await?;
    if !probe.status.success() || !probe.stderr.is_empty() {
        return Ok(None);
    }
    let (mut first, command) = (run(), command.as_std());
    first.arg(command.get_program()).args(command.get_args());
    Ok(Some(first))
}

/// Milliseconds of each request.
#[derive(Default)]
struct Times {
    inside: Vec<f64>,
    around: Vec<f64>,
}

async fn offer(site: &Site, queues: &Queues, rate: f64) -> Result<Times> {
    let connection = wire::connect(&site.url, "bench requests").await?;
    let channel = connection.create_channel().await?;
    let mut replies = wire::consume(&channel, &queues.reply, 1_000).await?;
    let publishing = wire::connect(&site.url, "bench produces").await?;
    let (free, mut idle) = mpsc::channel(CHANNELS);
    for _ in 0..CHANNELS {
        free.send(wire::confirming(&publishing).await?).await?;
    }
    let (due, mut schedule) = mpsc::unbounded_channel();
    // A thread of its own: tokio's timers are of a millisecond.
    let start = Instant::now();
    let clock = thread::spawn(move || {
        let mut rng = StdRng::seed_from_u64(1);
        let mut at = start;
        while at < start + LASTS {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if due.send(at).is_err() {
                return;
            }
            at += Duration::from_secs_f64(-(1.0 - rng.random::<f64>()).ln() / rate);
        }
    });
    let (mut sent, mut missing, mut times) = (HashMap::new(), 0_usize, Times::default());
    let mut over = false;
    while !over || missing > 0 {
        tokio::select! {
            at = schedule.recv(), if !over => {
                let Some(at) = at else {
                    over = true;
                    continue;
                };
                let index = sent.len() as u64;
                sent.insert(index, at);
                missing += 1;
                let channel = idle.recv().await.context("a channel")?;
                let (free, request) = (free.clone(), load::request(&queues.route, index));
                tokio::spawn(async move {
                    wire::publish(&channel, vec![request]).await?;
                    free.send(channel).await?;
                    anyhow::Ok(())
                });
            }
            reply = tokio::time::timeout(PATIENCE, replies.next()) => {
                let Ok(reply) = reply else {
                    bail!("no reply for {PATIENCE:?}, and {missing} are missing");
                };
                let reply = reply.context("the reply queue is gone")??;
                missing -= 1;
                let id = reply.properties.correlation_id().as_ref().context("an id")?;
                let at = sent[&id.as_str().parse::<u64>()?];
                if at >= start + WARM {
                    times.inside.push(dur(&reply, "total")? - dur(&reply, "predict")?);
                    times.around.push(at.elapsed().as_secs_f64() * 1e3);
                }
                reply.ack(BasicAckOptions::default()).await?;
            }
        }
    }
    let _ = clock.join();
    wire::close(publishing).await;
    wire::close(connection).await;
    Ok(times)
}

/// What a reply's `server-timing` says of a step, ms.
fn dur(reply: &Delivery, step: &str) -> Result<f64> {
    let headers = reply.properties.headers().as_ref().context("headers")?;
    let timing = headers
        .inner()
        .get("server-timing")
        .and_then(|value| value.as_long_string());
    let timing = timing.context("no server-timing")?.to_string();
    let mut parts = timing.split(", ");
    let part = parts.find_map(|part| part.strip_prefix(step)?.strip_prefix(";dur="));
    let text = part.with_context(|| format!("no {step} in {timing}"))?;
    Ok(text.split(';').next().unwrap_or_default().parse()?)
}

fn told(subject: &str, what: &str, mut ms: Vec<f64>) -> Vec<Row> {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| {
        ms.get((ms.len() as f64 * share) as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    println!("{subject}, {what}: p50 {p50:.3} ms, p99 {p99:.3} ms, p99.9 {p999:.3} ms");
    let figures = [("p50", p50), ("p99", p99), ("p99.9", p999)];
    let row = |(name, ms)| {
        let of = (report::MODEL, "poisson-10", subject);
        Row::new(of, &format!("{name} ms, {what}"), Spread::once(ms))
    };
    figures.map(row).into()
}
