//! `cargo bench --features fuzzing --bench steps`: what single steps of a request cost, of a payment as the demo has it.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a bench may stop where it stands"
)]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use inferq::batcher::PolicyConfig;
use inferq::batcher::policy::{Entry, Policy, RunTime};
use inferq::message::codec::{self, Limits};
use inferq::package::Package;
use inferq::predict::{Library, inspect};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

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
                let left = policy.take(now, &Linear);
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
criterion_main!(benches);
