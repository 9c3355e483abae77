//! A load far below what the worker can do, open loop: requests come at random (Poisson), whether or not those before
//! are answered.
//!
//! Time counts twice: in the worker, from a delivery until its reply is written, without the run, as its histogram
//! `inferq_overhead_seconds` tells (its buckets are narrow there, and within one values are taken to be spread evenly);
//! and around it, from when a request was due until its reply is here.

use crate::load;
use crate::options::Options;
use crate::report::{self, Row, Spread};
use crate::subject::Subject;
use crate::trial::{self, Queues, Site};
use crate::wire;
use crate::worker::{self, Worker};
use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use lapin::options::BasicAckOptions;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::sync::mpsc;

/// Enough to know what the worker can do once its credit has grown, which takes it less than the first half.
const BACKLOG: u64 = 100_000;
/// A tenth of that.
const SHARE: f64 = 0.1;
/// At first the worker has credit for one: these do not count.
const WARM: Duration = Duration::from_secs(2);
/// Each gives the quantiles of what was answered in it.
const WINDOW: Duration = Duration::from_secs(5);
const WINDOWS: u32 = 5;
const LASTS: Duration = WARM.saturating_add(WINDOW.saturating_mul(WINDOWS));
/// Channels that publish, each one message at a time.
const CHANNELS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(10);
/// A tenth of the worker's load is most of two cores' for the broker, to which few messages at a time cost more each. So
/// it is measured again with a priority that has the worker wait for no core.
const FIRST: i8 = -15;

pub async fn run(options: &Options, site: &Site, inferq: &Subject) -> Result<()> {
    let backlog = options.requests.unwrap_or(BACKLOG);
    report::heading();
    let most = trial::run_from(site, inferq, (backlog / 2, backlog)).await?;
    report::line("inferq, second half of a backlog", &most);
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
        let log = inferq.log(site);
        let mut worker = Worker::start(command, log.clone())?;
        let measured = tokio::select! {
            measured = offer(site, &queues, &log, rate) => measured,
            error = worker.ended() => Err(error),
        };
        worker.stop().await?;
        queues.close().await?;
        let Times { inside, around } = measured?;
        rows.extend(told(&subject, INSIDE, quantiles_inside(&inside)?));
        let around = QUANTILES.map(|part| Spread::once(quantile(&around, part)));
        rows.extend(told(&subject, AROUND, around));
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

const INSIDE: &str = "in the worker, delivery to reply written, without the run";
const AROUND: &str = "from when it was due to the reply";
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

struct Times {
    /// The worker's metrics at the beginning and at the end of each window.
    inside: Vec<String>,
    /// Milliseconds of each request, in order.
    around: Vec<f64>,
}

/// The worker's metrics at the ends of all windows.
async fn pages(log: PathBuf, start: Instant) -> Result<Vec<String>> {
    let mut pages = Vec::new();
    for window in 0..=WINDOWS {
        tokio::time::sleep_until((start + WARM + WINDOW * window).into()).await;
        let page = worker::metrics(&log).await;
        pages.push(page.context("the worker does not tell its metrics")?);
    }
    Ok(pages)
}

async fn offer(site: &Site, queues: &Queues, log: &Path, rate: f64) -> Result<Times> {
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
    let inside = tokio::spawn(pages(log.to_owned(), start));
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
    let (mut sent, mut missing, mut around) = (HashMap::new(), 0_usize, Vec::new());
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
                    around.push(at.elapsed().as_secs_f64() * 1e3);
                }
                reply.ack(BasicAckOptions::default()).await?;
            }
        }
    }
    let _ = clock.join();
    wire::close(publishing).await;
    wire::close(connection).await;
    around.sort_by(f64::total_cmp);
    let inside = inside.await??;
    Ok(Times { inside, around })
}

/// How many of the package's outcomes took no longer than each bound of the histogram, s; the last bound is infinite.
fn buckets(page: &str) -> Result<Vec<(f64, f64)>> {
    let series = format!(
        "inferq_overhead_seconds_bucket{{package=\"{}\",le=\"",
        crate::package::NAME
    );
    let lines = page.lines().filter_map(|line| line.strip_prefix(&series));
    let bucket = |line: &str| {
        let (bound, count) = line.split_once("\"} ").context("a bucket")?;
        let bound = bound.replace("+Inf", "inf");
        anyhow::Ok((bound.parse()?, count.parse()?))
    };
    lines.map(bucket).collect()
}

/// The quantiles over all windows, ms.
fn quantiles_inside(pages: &[String]) -> Result<[Spread; QUANTILES.len()]> {
    let at: Vec<_> = pages
        .iter()
        .map(|page| buckets(page))
        .collect::<Result<_>>()?;
    let mut windows = Vec::new();
    for ends in at.windows(2) {
        let since = ends[1].iter().zip(&ends[0]);
        let window: Vec<_> = since
            .map(|((bound, now), (_, before))| (*bound, now - before))
            .collect();
        let count = window.last().map_or(0.0, |(_, count)| *count);
        ensure!(count > 0.0, "the worker has answered nothing in {WINDOW:?}");
        windows.push(QUANTILES.map(|part| within(&window, part * count) * 1e3));
    }
    let spreads = [0, 1, 2].map(|place| Spread::of(windows.iter().map(|window| window[place])));
    let [Some(p50), Some(p99), Some(p999)] = spreads else {
        bail!("no windows");
    };
    Ok([p50, p99, p999])
}

/// The value below which so many lie, evenly spread within their bucket; beyond the last bound, infinite.
fn within(buckets: &[(f64, f64)], rank: f64) -> f64 {
    let (mut below, mut least) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank && *count > below {
            return least + (bound - least) * (rank - below) / (count - below);
        }
        (least, below) = (*bound, *count);
    }
    f64::NAN
}

/// Of values in order.
fn quantile(ms: &[f64], part: f64) -> f64 {
    let place = (ms.len() as f64 * part) as usize;
    ms.get(place).copied().unwrap_or(f64::NAN)
}

fn told(subject: &str, what: &str, spreads: [Spread; QUANTILES.len()]) -> Vec<Row> {
    let [p50, p99, p999] = spreads;
    println!(
        "{subject}, {what}: p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms",
        p50.median, p99.median, p999.median
    );
    let of = (report::MODEL, "poisson-10", subject);
    let row = |(name, ms)| Row::new(of, &format!("{name} ms, {what}"), ms);
    [("p50", p50), ("p99", p99), ("p99.9", p999)]
        .map(row)
        .into()
}
