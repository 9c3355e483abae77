//! A run's options, and how another thread has it end.

use std::sync::Arc;

use ort::session::{HasSelectedOutputs, RunOptions};

/// The options of a session's runs.
#[derive(Clone)]
pub(super) struct Options(Arc<Inner>);

struct Inner(RunOptions<HasSelectedOutputs>);

// ort keeps options with selected outputs to one thread, for outputs that are allocated beforehand.
#[expect(
    unsafe_code,
    reason = "a run can be stopped from another thread only through its options"
)]
// SAFETY: `Options` is given to runs by the session's thread alone, and has no outputs allocated beforehand; any
// other thread only sets or clears the flag that ONNX Runtime documents as settable during a run.
unsafe impl Sync for Inner {}

impl Options {
    pub(super) fn new(options: RunOptions<HasSelectedOutputs>) -> Options {
        Options(Arc::new(Inner(options)))
    }

    /// For the session's own thread.
    pub(super) fn of_run(&self) -> &RunOptions<HasSelectedOutputs> {
        &self.0.0
    }

    pub(super) fn stopper(&self) -> Stopper {
        Stopper(self.clone())
    }
}

/// Ends a session's run from another thread.
#[derive(Clone)]
pub struct Stopper(Options);

impl Stopper {
    /// Has the run that is going on fail at its next node, and every run until [`Stopper::reset`].
    pub fn stop(&self) {
        // Nothing but a flag: ONNX Runtime has no way to fail here.
        let _ = self.0.of_run().terminate();
    }

    /// Lets the session run again.
    pub fn reset(&self) {
        let _ = self.0.of_run().unterminate();
    }
}

impl std::fmt::Debug for Stopper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopper")
    }
}
