//! `cargo bench --features fuzzing --bench steps`: what single steps of a request cost, of a payment as the demo has it.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    reason = "a bench may stop where it stands"
)]

#[allow(dead_code, reason = "other benches do more with them")]
#[path = "../common/results.rs"]
mod results;

use anyhow::{Context, Result};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use inferq::batcher::PolicyConfig;
use inferq::batcher::policy::{Entry, Policy};
use inferq::batcher::run_time::RunTime;
use inferq::message::codec::{self, Limits};
use inferq::package::Package;
use inferq::predict::{Library, inspect};
use results::{Row, Spread};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn fraud() -> Package {
    let files = Package::read(&here().join("compose/packages/fraud/1.0.0"));
    let files = files.expect("the demo's package");
    let library = here().join("target/onnxruntime/libonnxruntime.so");
    let library = Library::open(Some(&library)).expect("`make setup` has got it");
    let signature = inspect(&library, &files.model()).expect("a model");
    files.bind(&signature).expect("manifest and model agree")
}

fn request(criterion: &mut Criterion) {
    let package = fraud();
    let sample = here().join("compose/samples/fraud/not-fraud-1.json");
    let body = Bytes::from(std::fs::read(sample).expect("the demo's sample"));
    let decode = || codec::decode(None, None, &body, &Limits::default());
    let (object, _) = decode().expect("a payment");
    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("decode", |b| b.iter(decode));
    group.throughput(Throughput::Elements(1));
    group.bench_function("validate", |b| b.iter(|| package.validate(&object)));
    group.bench_function("represent", |b| b.iter(|| package.represent(&object)));
    group.finish();
}

/// A millisecond, and ten microseconds a row.
struct Linear;

impl RunTime for Linear {
    fn likely(&self, rows: usize) -> Duration {
        Duration::from_micros(1_000 + 10 * rows as u64)
    }

    fn longest(&self, rows: usize) -> Duration {
        self.likely(rows) * 2
    }
}

/// A batch of 64 leaves and as many rows take its place, while so many wait.
fn policy(criterion: &mut Criterion) {
    const BATCH: usize = 64;
    let config = PolicyConfig {
        max_size: BATCH,
        max_delay: Duration::from_millis(2),
        queue_limit: 100_000,
    };
    let mut group = criterion.benchmark_group("policy");
    group.throughput(Throughput::Elements(BATCH as u64));
    for waiting in [64, 1_024, 16_384] {
        let now = Instant::now();
        let mut policy = Policy::new(config);
        let push = |policy: &mut Policy<u64>, ticket: u64| {
            let deadline = now + Duration::from_secs(60) + Duration::from_micros(ticket % 97);
            let priority = u8::try_from(ticket % 3).unwrap_or_default();
            let entry = Entry {
                priority,
                deadline,
                ticket,
            };
            policy.push(now, entry).expect("room");
        };
        (0..waiting).for_each(|ticket| push(&mut policy, ticket));
        group.bench_function(format!("a batch of 64, {waiting} waiting"), |b| {
            b.iter(|| {
                let left = policy.take(now, &Linear, None);
                for ticket in &left.batch {
                    push(&mut policy, *ticket);
                }
                black_box(left.refused.len())
            });
        });
    }
    group.finish();
}

/// Deliveries entered, and acknowledged a batch after another.
fn settlement(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("settlement");
    group.throughput(Throughput::Elements(1_024));
    for batch in [1, 64] {
        group.bench_function(format!("1024 deliveries in runs of {batch}"), |b| {
            b.iter_batched(
                || (),
                |()| inferq::broker::fuzzing::settle(1_024, batch),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, request, policy, settlement);

fn main() -> Result<()> {
    let (machine, began) = (results::machine(), SystemTime::now());
    benches();
    Criterion::default().configure_from_args().final_summary();
    let (rows, all) = estimated(began)?;
    // `cargo test --benches` measures nothing.
    if rows.is_empty() {
        return Ok(());
    }
    let folder = here().join("target/bench");
    fs::create_dir_all(&folder)?;
    results::write(&folder, &machine, "steps", (&rows, &all.into()))
}

/// What Criterion writes of a step, ns.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// All that Criterion has estimated since.
fn estimated(since: SystemTime) -> Result<(Vec<Row>, Map<String, Value>)> {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| here().join("target"), PathBuf::from);
    let (mut rows, mut all) = (Vec::new(), Map::new());
    for group in folders(&target.join("criterion"))? {
        for step in folders(&group)? {
            let file = step.join("new/estimates.json");
            let written = fs::metadata(&file).and_then(|file| file.modified());
            if written.is_ok_and(|at| at >= since) {
                let text = fs::read(&file)?;
                let Estimates { median } = serde_json::from_slice(&text)
                    .with_context(|| format!("{} is not of Criterion", file.display()))?;
                let Interval {
                    lower_bound,
                    upper_bound,
                } = median.confidence_interval;
                let us = Spread {
                    median: median.point_estimate / 1e3,
                    min: lower_bound / 1e3,
                    max: upper_bound / 1e3,
                };
                let of = [&group, &step].map(|path| path.file_name().unwrap_or_default());
                let [group, step] = of.map(|name| name.to_string_lossy());
                let figure = "µs (from and to: its 95 % interval)";
                rows.push(Row::new((&group, &step, "one step"), figure, us));
                let name = format!("{group}/{step}");
                all.insert(name, serde_json::from_slice(&text)?);
            }
        }
    }
    Ok((rows, all))
}

/// In the order of their names; none where there is no such folder.
fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    if !parent.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(parent)?.collect::<Result<Vec<_>, _>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}
