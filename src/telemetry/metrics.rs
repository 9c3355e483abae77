//! Handles on the metrics: looked up once for a package, not once for a request.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, Label};

use crate::telemetry::names::{self, Metric, STAGES};

/// A metric's labels with these values, in the order of [`Metric::labels`].
fn labels(metric: &Metric, values: &[&str]) -> Vec<Label> {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let pairs = metric.labels.iter().zip(values);
    pairs
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect()
}

fn counter(metric: &Metric, values: &[&str]) -> Counter {
    metrics::counter!(metric.name, labels(metric, values))
}

fn gauge(metric: &Metric, values: &[&str]) -> Gauge {
    metrics::gauge!(metric.name, labels(metric, values))
}

fn histogram(metric: &Metric, values: &[&str]) -> Histogram {
    metrics::histogram!(metric.name, labels(metric, values))
}

/// The metrics of one package. Cheap to use, not to make: share one for as long as the package is served.
pub struct PackageMetrics {
    package: String,
    /// Requests received.
    pub requests: Counter,
    /// Requests answered with an outcome.
    pub outcomes: Counter,
    /// Deliveries that the broker had delivered before.
    pub redelivered: Counter,
    /// Requests put into a retry queue.
    pub retries: Counter,
    /// Requests that came back from one.
    pub retries_returned: Counter,
    /// Replies whose `reply_to` names no queue.
    pub replies_unroutable: Counter,
    /// Answered with the reply that was given before, which was found before they were scored.
    pub duplicates: Counter,
    /// The same, found only when they were to be answered: scored twice, expired, or given up.
    pub late_duplicates: Counter,
    /// Requests whose `message_id` another request had.
    pub message_ids_reused: Counter,
    in_flight: Gauge,
    oldest_unsettled: Gauge,
    batch_rows: Histogram,
    real_steps: Counter,
    padded_steps: Counter,
    run: Histogram,
    queue_wait: Histogram,
    overhead: Histogram,
    stages: [Histogram; STAGES.len()],
    rejections: Family,
    faults: Family,
    dead_letters: Family,
}

impl PackageMetrics {
    /// Looks up the metrics of `package`, so that they stand at zero before the first request.
    #[must_use]
    pub fn new(package: &str) -> Self {
        let own = &[package];
        PackageMetrics {
            package: package.to_owned(),
            requests: counter(&names::REQUESTS, own),
            outcomes: counter(&names::OUTCOMES, own),
            redelivered: counter(&names::REDELIVERED, own),
            retries: counter(&names::RETRIES, own),
            retries_returned: counter(&names::RETRIES_RETURNED, own),
            replies_unroutable: counter(&names::REPLIES_UNROUTABLE, own),
            duplicates: counter(&names::DUPLICATES, &[package, "before_scoring"]),
            late_duplicates: counter(&names::DUPLICATES, &[package, "before_replying"]),
            message_ids_reused: counter(&names::MESSAGE_IDS_REUSED, own),
            in_flight: gauge(&names::IN_FLIGHT, own),
            oldest_unsettled: gauge(&names::OLDEST_UNSETTLED_SECONDS, own),
            batch_rows: histogram(&names::BATCH_ROWS, own),
            real_steps: counter(&names::SEQUENCE_STEPS, &[package, "real"]),
            padded_steps: counter(&names::SEQUENCE_STEPS, &[package, "padded"]),
            run: histogram(&names::RUN_SECONDS, own),
            queue_wait: histogram(&names::QUEUE_WAIT_SECONDS, own),
            overhead: histogram(&names::OVERHEAD_SECONDS, own),
            stages: STAGES.map(|stage| histogram(&names::STAGE_SECONDS, &[package, stage])),
            rejections: Family::default(),
            faults: Family::default(),
            dead_letters: Family::default(),
        }
    }

    /// A rejection with this code, said by this stage.
    pub fn rejected(&self, code: &str, stage: &str) {
        self.rejections.increment(code, stage, || {
            counter(&names::REJECTIONS, &[&self.package, code, stage])
        });
    }

    /// A fault of this kind at this stage.
    pub fn faulted(&self, kind: &str, stage: &str) {
        self.faults.increment(kind, stage, || {
            counter(&names::FAULTS, &[&self.package, kind, stage])
        });
    }

    /// A copy to the dead letters.
    pub fn dead_lettered(&self, reason: &str) {
        self.dead_letters.increment(reason, "", || {
            counter(&names::DEAD_LETTERS, &[&self.package, reason])
        });
    }

    /// A request spent this long in one of [`STAGES`]; other names are not measured.
    pub fn stage(&self, stage: &str, spent: Duration) {
        let named = STAGES.iter().zip(&self.stages);
        if let Some((_, histogram)) = named.into_iter().find(|(name, _)| **name == stage) {
            histogram.record(spent);
        }
    }

    /// A request's rows waited this long for their batch.
    pub fn waited(&self, waited: Duration) {
        self.queue_wait.record(waited);
    }

    /// An outcome's reply was written so long after its delivery had come; its batch ran for a part of that.
    pub fn replied(&self, spent: Duration, run: Duration) {
        self.overhead.record(spent.saturating_sub(run));
    }

    /// A batch of so many rows, whose sequences had so many steps and ran as so many, ran for so long.
    pub fn ran(&self, batch_rows: usize, (real, padded): (usize, usize), run: Duration) {
        self.run.record(run);
        self.real_steps.increment(real as u64);
        self.padded_steps.increment(padded as u64);
        #[expect(
            clippy::cast_precision_loss,
            reason = "batches are far smaller than 2^52"
        )]
        self.batch_rows.record(batch_rows as f64);
    }

    /// Full batches of this version of the package have so many rows.
    pub fn best_batch(&self, version: &str, rows: usize) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "batches are far smaller than 2^52"
        )]
        gauge(&names::BEST_BATCH_ROWS, &[&self.package, version]).set(rows as f64);
    }

    /// A request is in hand until the guard is dropped.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.increment(1.0);
        InFlight(self.in_flight.clone())
    }

    /// The age of the oldest unsettled delivery; zero where there is none.
    pub fn oldest_unsettled(&self, age: Duration) {
        self.oldest_unsettled.set(age);
    }

    /// Whether this version of the package, with this digest, is live.
    pub fn model_loaded(&self, version: &str, digest: &str, live: bool) {
        gauge(&names::MODEL_LOADED, &[&self.package, version, digest]).set(if live {
            1.0
        } else {
            0.0
        });
    }
}

/// Counts one request as in flight for as long as it lives.
#[must_use = "the request counts as settled once this is dropped"]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// The metrics of the connections to the broker.
pub struct BrokerMetrics {
    /// Messages published and confirmed.
    pub published: Counter,
    /// Times the consuming connection was made anew.
    pub consuming_reconnects: Counter,
    /// Times the publishing connection was made anew.
    pub publishing_reconnects: Counter,
}

impl BrokerMetrics {
    /// Looks them up.
    #[must_use]
    pub fn new() -> Self {
        BrokerMetrics {
            published: counter(&names::PUBLISHED, &[]),
            consuming_reconnects: counter(&names::RECONNECTS, &["consuming"]),
            publishing_reconnects: counter(&names::RECONNECTS, &["publishing"]),
        }
    }
}

impl Default for BrokerMetrics {
    fn default() -> Self {
        BrokerMetrics::new()
    }
}

/// The metrics of the duplicate store, where there is one.
pub struct StoreMetrics {
    /// Questions without an answer.
    pub faults: Counter,
    /// Questions that were not put.
    pub skipped: Counter,
    /// 1 while it answers.
    pub up: Gauge,
}

impl StoreMetrics {
    /// Looks them up.
    #[must_use]
    pub fn new() -> Self {
        StoreMetrics {
            faults: counter(&names::DUPLICATE_STORE_FAULTS, &[]),
            skipped: counter(&names::DUPLICATE_STORE_SKIPPED, &[]),
            up: gauge(&names::DUPLICATE_STORE_UP, &[]),
        }
    }
}

impl Default for StoreMetrics {
    fn default() -> Self {
        StoreMetrics::new()
    }
}

/// Counters of one metric by two labels whose values appear as they occur: a handful.
#[derive(Default)]
struct Family(RwLock<HashMap<String, HashMap<String, Counter>>>);

impl Family {
    fn increment(&self, first: &str, second: &str, make: impl FnOnce() -> Counter) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = known.get(first).and_then(|inner| inner.get(second)) {
            return counter.increment(1);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let inner = known.entry(first.to_owned()).or_default();
        inner
            .entry(second.to_owned())
            .or_insert_with(make)
            .increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::recorder::{builder, install_recorder, render};

    fn rendered(run: impl FnOnce()) -> String {
        let recorder = builder().unwrap().build();
        metrics::with_local_recorder(&recorder, run);
        render(recorder.registry()).unwrap()
    }

    #[test]
    fn every_series_of_a_package_stands_at_zero_before_the_first_request() {
        let text = rendered(|| drop(PackageMetrics::new("digits")));
        assert!(text.contains("inferq_requests_total{package=\"digits\"} 0"));
        assert!(text.contains("inferq_in_flight{package=\"digits\"} 0"));
        assert!(text.contains(
            "inferq_stage_seconds_bucket{package=\"digits\",stage=\"decode\",le=\"0.00001\"} 0"
        ));
    }

    #[test]
    fn what_happens_is_counted_under_its_labels() {
        let text = rendered(|| {
            let package = PackageMetrics::new("digits");
            package.rejected("package:blank_image", "represent");
            package.rejected("package:blank_image", "represent");
            package.rejected("invalid_request", "validate");
            package.faulted("model", "predict");
            package.dead_lettered("poison");
            package.stage("decode", Duration::from_micros(20));
            package.stage("no such stage", Duration::ZERO);
            package.waited(Duration::from_millis(2));
            package.replied(Duration::from_micros(3_300), Duration::from_millis(3));
            package.ran(32, (700, 800), Duration::from_millis(3));
            package.model_loaded("1.0.0", "abc", true);
            package.best_batch("1.0.0", 32);
            package.oldest_unsettled(Duration::from_millis(1500));
            let first = package.in_flight();
            let second = package.in_flight();
            drop(first);
            std::mem::forget(second);
            BrokerMetrics::new().consuming_reconnects.increment(1);
        });
        for line in [
            "inferq_rejections_total{code=\"package:blank_image\",package=\"digits\",stage=\"represent\"} 2",
            "inferq_rejections_total{code=\"invalid_request\",package=\"digits\",stage=\"validate\"} 1",
            "inferq_faults_total{kind=\"model\",package=\"digits\",stage=\"predict\"} 1",
            "inferq_dead_letters_total{package=\"digits\",reason=\"poison\"} 1",
            "inferq_stage_seconds_bucket{package=\"digits\",stage=\"decode\",le=\"0.00005\"} 1",
            "inferq_batch_rows_bucket{package=\"digits\",le=\"16\"} 0",
            "inferq_batch_rows_bucket{package=\"digits\",le=\"32\"} 1",
            "inferq_sequence_steps_total{kind=\"padded\",package=\"digits\"} 800",
            "inferq_run_seconds_count{package=\"digits\"} 1",
            "inferq_queue_wait_seconds_count{package=\"digits\"} 1",
            "inferq_overhead_seconds_bucket{package=\"digits\",le=\"0.00025\"} 0",
            "inferq_overhead_seconds_bucket{package=\"digits\",le=\"0.0003\"} 1",
            "inferq_best_batch_rows{package=\"digits\",version=\"1.0.0\"} 32",
            "inferq_model_loaded{digest=\"abc\",package=\"digits\",version=\"1.0.0\"} 1",
            "inferq_oldest_unsettled_seconds{package=\"digits\"} 1.5",
            "inferq_in_flight{package=\"digits\"} 1",
            "inferq_reconnects_total{connection=\"consuming\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("no such stage"));
    }

    #[test]
    fn the_recorder_is_installed_once_and_describes_every_metric() {
        let registry = install_recorder().unwrap();
        let described = |registry| -> Vec<String> {
            let text = render(registry).unwrap();
            let lines = text.lines().filter(|line| line.contains("described"));
            lines.map(str::to_owned).collect()
        };
        let package = PackageMetrics::new("described");
        package.rejected("invalid_request", "validate");
        package.faulted("model", "predict");
        package.dead_lettered("poison");
        package.model_loaded("1.0.0", "abc", true);
        package.best_batch("1.0.0", 32);
        drop(BrokerMetrics::new());
        drop(StoreMetrics::new());
        assert_eq!(
            described(&registry),
            described(&install_recorder().unwrap())
        );
        let text = render(&registry).unwrap();
        for Metric { name, help, .. } in names::ALL {
            assert!(
                text.contains(&format!("# HELP {name} {help}\n")),
                "{name} in\n{text}"
            );
        }
    }
}
