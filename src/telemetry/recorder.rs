//! The recorder behind the metrics, and the page that Prometheus reads.

use std::sync::{Mutex, Once, PoisonError};

use metrics_prometheus::{
    failure::{Action, Strategy},
    recorder::Builder,
};
use prometheus::{HistogramOpts, HistogramVec, Registry, TextEncoder};

use crate::telemetry::names::{self, Kind, Metric};

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum RecorderFault {
    /// The program that embeds inferq has its own recorder; inferq's metrics are there then.
    #[error("cannot install the metrics recorder: there is one already")]
    Taken,
    /// The registry does not take what inferq counts.
    #[error("cannot make the metrics recorder: {0}")]
    Registry(#[from] prometheus::Error),
}

/// What a metric of another part of the program gets that the registry does not take, such as one whose name has other
/// labels elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Uncounted;

impl Strategy for Uncounted {
    fn decide(&self, error: &prometheus::Error) -> Action {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            tracing::warn!(%error, "a metric cannot be registered and is not counted; of others nothing is said");
        });
        Action::NoOp
    }
}

/// Installs a recorder for this process, and gives the registry that it fills; called again, gives the same one.
///
/// Handles made before it stay without effect: install it before anything else starts.
///
/// # Errors
/// The process has another recorder.
pub fn install_recorder() -> Result<Registry, RecorderFault> {
    static INSTALLED: Mutex<Option<Registry>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(registry) = &*installed {
        return Ok(registry.clone());
    }
    let installing = builder()?.try_build_and_install();
    let recorder = installing.map_err(|_| RecorderFault::Taken)?;
    names::ALL.iter().for_each(describe);
    Ok(installed.insert(recorder.registry().clone()).clone())
}

/// A recorder with a registry of its own, which knows the buckets of the histograms.
pub(super) fn builder() -> Result<Builder<Uncounted>, prometheus::Error> {
    let mut builder = metrics_prometheus::Recorder::builder()
        .with_registry(Registry::new())
        .with_failure_strategy(Uncounted);
    for metric in names::ALL {
        if let Kind::Histogram(buckets) = metric.kind {
            let options = HistogramOpts::new(metric.name, metric.help).buckets(buckets.to_vec());
            builder = builder.try_with_metric(HistogramVec::new(options, metric.labels)?)?;
        }
    }
    Ok(builder)
}

fn describe(metric: &Metric) {
    let (name, unit, help) = (metric.name, metric.unit, metric.help);
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(name, unit, help),
        Kind::Gauge => metrics::describe_gauge!(name, unit, help),
        // Described where its buckets are.
        Kind::Histogram(_) => {}
    }
}

/// Everything in `registry`, as a page for Prometheus ([`prometheus::TEXT_FORMAT`]).
///
/// # Errors
/// A family that has no name or no series; inferq makes none.
pub fn render(registry: &Registry) -> Result<String, prometheus::Error> {
    TextEncoder::new().encode_to_string(&registry.gather())
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ScopedJoinHandle};

    use super::*;

    #[test]
    fn no_sample_is_lost_while_the_page_is_read() {
        const SAMPLES: usize = 300_000;
        let recorder = builder().unwrap().build();
        let rows = metrics::with_local_recorder(
            &recorder,
            || metrics::histogram!(names::BATCH_ROWS.name, "package" => "digits"),
        );
        let recording = || (0..SAMPLES).for_each(|_| rows.record(1.0));
        thread::scope(|scope| {
            let threads = [(); 3].map(|()| scope.spawn(recording));
            while !threads.iter().all(ScopedJoinHandle::is_finished) {
                render(recorder.registry()).unwrap();
            }
        });
        let text = render(recorder.registry()).unwrap();
        let count = format!(
            "inferq_batch_rows_count{{package=\"digits\"}} {}\n",
            3 * SAMPLES
        );
        assert!(text.contains(&count), "{count} in\n{text}");
    }
}
