//! How large the batches of a live package are, and what becomes of what they show.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use super::measure::Timed;
use crate::{
    batcher::{
        Refreshed, Sizing,
        climb::Climb,
        curve::Curve,
        state::{self, Key},
    },
    package::Package,
    telemetry::metrics::PackageMetrics,
};

/// Where a curve is kept that live batches refresh.
struct Keeper {
    dir: PathBuf,
    key: Key,
    /// What was written last, or is being.
    writing: Mutex<Option<JoinHandle<()>>>,
}

/// What was measured is where batches begin. A change is told, and kept.
pub(super) fn sizing(
    timed: &Timed,
    package: &Arc<Package>,
    metrics: &Arc<PackageMetrics>,
) -> Sizing {
    let mut climb = Climb::new(&timed.sizes, timed.most, timed.curve.as_ref());
    if let Some(within) = timed.within {
        climb = climb.refreshed(within, timed.whole);
    }
    metrics.best_batch(package.version(), climb.best());
    let keeper = timed.kept.clone().map(|(dir, key)| Keeper {
        dir,
        key,
        writing: Mutex::default(),
    });
    let (package, metrics) = (Arc::clone(package), Arc::clone(metrics));
    Sizing::new(climb, move |refreshed| {
        let Refreshed {
            before,
            best,
            curve,
            closing,
        } = refreshed;
        if best != before {
            let (name, version) = (package.name(), package.version());
            metrics.best_batch(version, best);
            tracing::info!(
                package = name,
                version,
                before,
                best,
                "another batch size is the best"
            );
        }
        let Some(keeper) = &keeper else {
            return;
        };
        if let Some(curve) = curve {
            keeper.keep(curve, best);
        }
        if closing {
            keeper.finish();
        }
    })
}

impl Keeper {
    /// Writes it on a thread of its own, after what was written before.
    fn keep(&self, curve: Curve, best: usize) {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, dir, key) = (writing.take(), self.dir.clone(), self.key.clone());
        let write = move || {
            join(before);
            if let Err(fault) = state::keep(&dir, &key, &curve, Some(best)) {
                tracing::warn!(package = key.package, %fault, "what live batches showed is not kept");
            }
        };
        match thread::Builder::new().name("keep".to_owned()).spawn(write) {
            Ok(thread) => *writing = Some(thread),
            Err(error) => tracing::warn!(%error, "no thread to keep what live batches showed"),
        }
    }

    /// Returns when all is written.
    fn finish(&self) {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        join(writing.take());
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        // It has told of what went wrong, unless it has panicked, which tells of itself.
        let _ = thread.join();
    }
}
