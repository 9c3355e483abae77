//! Every metric: its name, unit and meaning, and the functions that record it.
//!
//! Handles are looked up once a package, not once a request.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, PoisonError, RwLock},
    time::Duration,
};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Requests taken from a queue, redeliveries included.
pub const REQUESTS: &str = "inferq_requests_total";
/// Outcomes sent.
pub const OUTCOMES: &str = "inferq_outcomes_total";
/// Rejections sent, by code and stage.
pub const REJECTIONS: &str = "inferq_rejections_total";
/// Faults met, by kind and stage; retried ones count each time.
pub const FAULTS: &str = "inferq_faults_total";
/// Copies sent to the dead letters, by reason.
pub const DEAD_LETTERS: &str = "inferq_dead_letters_total";
/// Replies that could not be routed or were refused for good.
pub const UNDELIVERABLE: &str = "inferq_replies_undeliverable_total";
/// Rows in a batch.
pub const BATCH_ROWS: &str = "inferq_batch_rows";
/// Seconds in a stage.
pub const STAGE_SECONDS: &str = "inferq_stage_seconds";
/// Seconds a request's rows waited for their batch.
pub const QUEUE_WAIT_SECONDS: &str = "inferq_queue_wait_seconds";
/// Deliveries in hand, by queue.
pub const IN_FLIGHT: &str = "inferq_in_flight";
/// Age in seconds of the oldest delivery in hand, by queue.
pub const OLDEST_UNSETTLED_SECONDS: &str = "inferq_oldest_unsettled_seconds";
/// Times a connection to the broker was made again.
pub const RECONNECTS: &str = "inferq_reconnects_total";

/// Seconds: from a tiny model's run to a default deadline.
const SECONDS: [f64; 16] = [
    1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0,
];
/// Rows: powers of two.
const ROWS: [f64; 13] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
];

/// Starts recording; the handle renders what was recorded for Prometheus.
///
/// # Errors
/// None that a user can cause: a second recorder in one process.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(BATCH_ROWS.to_owned()), &ROWS)?
        .install_recorder()?;
    describe_counter!(
        REQUESTS,
        "requests taken from a queue, redeliveries included"
    );
    describe_counter!(OUTCOMES, "outcomes sent");
    describe_counter!(REJECTIONS, "rejections sent, by code and stage");
    describe_counter!(FAULTS, "faults met, by kind and stage");
    describe_counter!(DEAD_LETTERS, "copies sent to the dead letters, by reason");
    describe_counter!(
        UNDELIVERABLE,
        "replies that could not be routed or were refused for good"
    );
    describe_histogram!(BATCH_ROWS, Unit::Count, "rows in a batch");
    describe_histogram!(STAGE_SECONDS, Unit::Seconds, "time in a stage");
    describe_histogram!(
        QUEUE_WAIT_SECONDS,
        Unit::Seconds,
        "time a request's rows waited for their batch"
    );
    describe_gauge!(IN_FLIGHT, "deliveries in hand, by queue");
    describe_gauge!(
        OLDEST_UNSETTLED_SECONDS,
        Unit::Seconds,
        "age of the oldest delivery in hand, by queue"
    );
    describe_counter!(
        RECONNECTS,
        "times a connection to the broker was made again"
    );
    Ok(handle)
}

/// The handles of one package.
struct Package {
    requests: Counter,
    outcomes: Counter,
    queue_wait: Histogram,
    stages: [(&'static str, Histogram); 4],
    batch_rows: Histogram,
}

impl Package {
    fn new(name: &str) -> Package {
        let package = || name.to_owned();
        let stage = |stage| {
            (
                stage,
                histogram!(STAGE_SECONDS, "package" => package(), "stage" => stage),
            )
        };
        Package {
            requests: counter!(REQUESTS, "package" => package()),
            outcomes: counter!(OUTCOMES, "package" => package()),
            queue_wait: histogram!(QUEUE_WAIT_SECONDS, "package" => package()),
            stages: ["decode", "represent", "predict", "decide"].map(stage),
            batch_rows: histogram!(BATCH_ROWS, "package" => package()),
        }
    }
}

static PACKAGES: LazyLock<RwLock<HashMap<String, Arc<Package>>>> = LazyLock::new(RwLock::default);

fn of(package: &str) -> Arc<Package> {
    if let Some(found) = PACKAGES
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(package)
    {
        return Arc::clone(found);
    }
    let mut packages = PACKAGES.write().unwrap_or_else(PoisonError::into_inner);
    let new = || Arc::new(Package::new(package));
    Arc::clone(packages.entry(package.to_owned()).or_insert_with(new))
}

/// A request was taken from `package`'s queue.
pub fn request(package: &str) {
    of(package).requests.increment(1);
}

/// An outcome is sent.
pub fn outcome(package: &str) {
    of(package).outcomes.increment(1);
}

/// A rejection is sent.
pub fn rejection(package: &str, code: &str, stage: &'static str) {
    let labels = [
        ("package", package.to_owned()),
        ("code", code.to_owned()),
        ("stage", stage.to_owned()),
    ];
    counter!(REJECTIONS, &labels).increment(1);
}

/// A fault was met.
pub fn fault(package: &str, kind: &'static str, stage: &'static str) {
    let labels = [
        ("package", package.to_owned()),
        ("kind", kind.to_owned()),
        ("stage", stage.to_owned()),
    ];
    counter!(FAULTS, &labels).increment(1);
}

/// A copy goes to the dead letters.
pub fn dead_letter(package: &str, reason: &str) {
    counter!(DEAD_LETTERS, "package" => package.to_owned(), "reason" => reason.to_owned())
        .increment(1);
}

/// A reply could not be delivered.
pub fn undeliverable(package: &str) {
    counter!(UNDELIVERABLE, "package" => package.to_owned()).increment(1);
}

/// A request's time in each stage it reached: decode, represent, predict, decide; and its wait for a batch.
pub fn stages(package: &str, times: [Duration; 4], queue_wait: Duration) {
    let package = of(package);
    for ((_, histogram), time) in package.stages.iter().zip(times) {
        if !time.is_zero() {
            histogram.record(time);
        }
    }
    if !queue_wait.is_zero() {
        package.queue_wait.record(queue_wait);
    }
}

/// A batch was run.
pub fn batch(package: &str, rows: usize) {
    // Batches are far below 2^52 rows.
    of(package)
        .batch_rows
        .record(f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
}

/// Deliveries in hand of a queue, and the age of the oldest.
pub fn unsettled(queue: &str, in_flight: u32, oldest: Duration) {
    let gauge = |name: &'static str| -> Gauge { gauge!(name, "queue" => queue.to_owned()) };
    gauge(IN_FLIGHT).set(in_flight);
    gauge(OLDEST_UNSETTLED_SECONDS).set(oldest.as_secs_f64());
}

/// Reconnects so far.
pub fn reconnects(total: u64) {
    counter!(RECONNECTS).absolute(total);
}
