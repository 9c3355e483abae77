//! Every metric: its name (Prometheus conventions, the unit in the name), kind, unit and meaning.

use metrics::Unit;

/// How a metric is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts samples by size, in these buckets.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// As Prometheus has it.
    pub name: &'static str,
    /// How it is counted.
    pub kind: Kind,
    /// What is counted.
    pub unit: Unit,
    /// What it means, with its unit.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        unit: Unit::Count,
        help,
        labels,
    }
}

const fn gauge(
    name: &'static str,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit,
        help,
        labels,
    }
}

const fn seconds(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Histogram(SECONDS),
        unit: Unit::Seconds,
        help,
        labels,
    }
}

/// From a decode of a small JSON body (10 µs) to the longest deadline that is usual (30 s).
pub const SECONDS: &[f64] = &[
    0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// What inferq itself takes of a request's time: ten steps a decade (R10 of ISO 3, rounded) where it is when the worker
/// is not busy (0.1 to 5 ms), coarse beyond.
pub const OVERHEAD: &[f64] = &[
    0.000_025, 0.000_05, 0.000_1, 0.000_125, 0.000_16, 0.000_2, 0.000_25, 0.000_3, 0.000_4,
    0.000_5, 0.000_63, 0.000_8, 0.001, 0.001_25, 0.001_6, 0.002, 0.002_5, 0.003, 0.004, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Batch sizes.
pub const ROWS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

/// Requests received.
pub const REQUESTS: Metric = counter(
    "inferq_requests_total",
    &["package"],
    "requests received, redeliveries and retries included",
);
/// Outcomes.
pub const OUTCOMES: Metric = counter(
    "inferq_outcomes_total",
    &["package"],
    "requests answered with an outcome",
);
/// Rejections.
pub const REJECTIONS: Metric = counter(
    "inferq_rejections_total",
    &["package", "code", "stage"],
    "requests answered with a rejection, by its code and the stage that said no",
);
/// Faults.
pub const FAULTS: Metric = counter(
    "inferq_faults_total",
    &["package", "kind", "stage"],
    "faults of inferq, a model or a dependency, tries that were repeated included",
);
/// Rows of each batch.
pub const BATCH_ROWS: Metric = Metric {
    name: "inferq_batch_rows",
    kind: Kind::Histogram(ROWS),
    unit: Unit::Count,
    help: "rows of a batch",
    labels: &["package"],
};
/// The best b.
pub const BEST_BATCH_ROWS: Metric = gauge(
    "inferq_best_batch_rows",
    Unit::Count,
    &["package", "version"],
    "rows of a full batch: the best size by what was measured at load, and what live batches have shown since",
);
/// Steps of sequences.
pub const SEQUENCE_STEPS: Metric = counter(
    "inferq_sequence_steps_total",
    &["package", "kind"],
    "steps of sequences that requests had (real) and that ran (padded): rows that run together are all as long as the longest",
);
/// Duration of each stage.
pub const STAGE_SECONDS: Metric = seconds(
    "inferq_stage_seconds",
    &["package", "stage"],
    "seconds that a request spent in a stage",
);
/// Each batch's run.
pub const RUN_SECONDS: Metric = seconds(
    "inferq_run_seconds",
    &["package"],
    "seconds that a batch ran; their sum, times the cores of its session, is the device time that a package got",
);
/// Waiting for a batch.
pub const QUEUE_WAIT_SECONDS: Metric = seconds(
    "inferq_queue_wait_seconds",
    &["package"],
    "seconds that a request's rows waited for their batch",
);
/// All but the run, from delivery to reply.
///
/// It begins when the consumer's task takes the delivery from its channel (under a backlog it may have lain there for up
/// to 4 ms, so that more come with it), and ends when the connection's socket has taken the last byte of the reply, and
/// of those that left with it. It is counted once the broker has confirmed the reply.
pub const OVERHEAD_SECONDS: Metric = Metric {
    name: "inferq_overhead_seconds",
    kind: Kind::Histogram(OVERHEAD),
    unit: Unit::Seconds,
    help: "seconds from a request's delivery until its outcome was written to the broker's connection, without its batch's run",
    labels: &["package"],
};
/// Requests in hand.
pub const IN_FLIGHT: Metric = gauge(
    "inferq_in_flight",
    Unit::Count,
    &["package"],
    "requests received and not yet settled",
);
/// Age of the oldest unsettled delivery.
pub const OLDEST_UNSETTLED_SECONDS: Metric = gauge(
    "inferq_oldest_unsettled_seconds",
    Unit::Seconds,
    &["package"],
    "seconds since the oldest delivery that is not yet settled was received, or had its turn to run alone; 0 without one",
);
/// A package version that is live.
pub const MODEL_LOADED: Metric = gauge(
    "inferq_model_loaded",
    Unit::Count,
    &["package", "version", "digest"],
    "1 while this version of the package is live, else 0",
);
/// Redeliveries.
pub const REDELIVERED: Metric = counter(
    "inferq_redelivered_total",
    &["package"],
    "deliveries that the broker had delivered before",
);
/// Copies to a retry queue.
pub const RETRIES: Metric = counter(
    "inferq_retries_total",
    &["package"],
    "requests put into a retry queue",
);
/// What came back from there.
pub const RETRIES_RETURNED: Metric = counter(
    "inferq_retries_returned_total",
    &["package"],
    "requests that came back from a retry queue, to whichever worker: of all workers together as many as retries",
);
/// Dead letters.
pub const DEAD_LETTERS: Metric = counter(
    "inferq_dead_letters_total",
    &["package", "reason"],
    "requests copied to the dead letters, by reason",
);
/// Replies that no queue took.
pub const REPLIES_UNROUTABLE: Metric = counter(
    "inferq_replies_unroutable_total",
    &["package"],
    "replies that no queue took: there is none of that name, or it refuses or does not confirm them",
);
/// Confirmed publishes.
pub const PUBLISHED: Metric = counter(
    "inferq_published_total",
    &[],
    "messages published and confirmed by the broker",
);
/// Reconnects.
pub const RECONNECTS: Metric = counter(
    "inferq_reconnects_total",
    &["connection"],
    "connections to the broker that were made anew after a loss",
);

/// Duplicates.
pub const DUPLICATES: Metric = counter(
    "inferq_duplicates_total",
    &["package", "found"],
    "requests answered with the reply that was given before (in neither outcomes nor rejections), by whether that was found before_scoring or only before_replying",
);
/// Other requests under the same name.
pub const MESSAGE_IDS_REUSED: Metric = counter(
    "inferq_message_ids_reused_total",
    &["package"],
    "requests whose message_id another request had before",
);
/// The store's faults.
pub const DUPLICATE_STORE_FAULTS: Metric = counter(
    "inferq_duplicate_store_faults_total",
    &[],
    "questions that the duplicate store did not answer, not in time, or not so that this version understands it",
);
/// Questions that were not put.
pub const DUPLICATE_STORE_SKIPPED: Metric = counter(
    "inferq_duplicate_store_skipped_total",
    &[],
    "questions that were not put to the duplicate store, because it had just not answered",
);
/// The store's state.
pub const DUPLICATE_STORE_UP: Metric = gauge(
    "inferq_duplicate_store_up",
    Unit::Count,
    &[],
    "1 while the duplicate store answers, else 0; absent without one",
);

/// All of them.
pub const ALL: &[Metric] = &[
    REQUESTS,
    OUTCOMES,
    REJECTIONS,
    FAULTS,
    BATCH_ROWS,
    BEST_BATCH_ROWS,
    SEQUENCE_STEPS,
    STAGE_SECONDS,
    RUN_SECONDS,
    QUEUE_WAIT_SECONDS,
    OVERHEAD_SECONDS,
    IN_FLIGHT,
    OLDEST_UNSETTLED_SECONDS,
    MODEL_LOADED,
    REDELIVERED,
    RETRIES,
    RETRIES_RETURNED,
    DEAD_LETTERS,
    REPLIES_UNROUTABLE,
    PUBLISHED,
    RECONNECTS,
    DUPLICATES,
    MESSAGE_IDS_REUSED,
    DUPLICATE_STORE_FAULTS,
    DUPLICATE_STORE_SKIPPED,
    DUPLICATE_STORE_UP,
];

/// The stages whose durations are measured, in the order of a request's way.
pub const STAGES: [&str; 9] = [
    "decode",
    "resolve",
    "validate",
    "adapt",
    "represent",
    "predict",
    "decide",
    "encode",
    "publish",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len(), "each name once");
        for metric in ALL {
            let name = metric.name;
            assert!(name.starts_with("inferq_"), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}"
            );
            assert_eq!(
                name.ends_with("_seconds"),
                metric.unit == Unit::Seconds,
                "{name}"
            );
            assert!(
                metric.unit != Unit::Seconds || metric.help.contains("seconds"),
                "{name}"
            );
            if let Kind::Histogram(buckets) = metric.kind {
                assert!(buckets.is_sorted(), "{name}");
            }
        }
    }
}
