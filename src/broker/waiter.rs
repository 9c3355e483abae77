//! Who waits for what becomes of a publication.

use crate::broker::publisher::{Outcome, PublishFault};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::oneshot;

/// Who is told what became of a publication.
pub(super) enum Waiter {
    /// A task, which may have given up.
    Task(oneshot::Sender<Outcome>),
    /// What follows, wherever the outcome is known.
    Then(Then),
}

/// Called once; dropped before, with [`PublishFault::Closed`].
pub(super) struct Then(Option<Box<dyn FnOnce(Outcome) + Send>>);

impl Then {
    pub(super) fn new(then: impl FnOnce(Outcome) + Send + 'static) -> Then {
        Then(Some(Box::new(then)))
    }

    fn call(&mut self, outcome: Outcome) {
        // A panic there is that publication's own affair: the publisher goes on.
        if let Some(then) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| then(outcome))).is_err()
        {
            tracing::error!("a panic in what follows a publication");
        }
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        self.call(Err(PublishFault::Closed));
    }
}

impl Waiter {
    /// Tells what became of it.
    pub(super) fn hear(self, outcome: Outcome) {
        match self {
            // Whoever waited may have given up.
            Waiter::Task(done) => drop(done.send(outcome)),
            Waiter::Then(mut then) => then.call(outcome),
        }
    }

    /// Whether anybody still does.
    pub(super) fn waits(&self) -> bool {
        match self {
            Waiter::Task(done) => !done.is_closed(),
            Waiter::Then(_) => true,
        }
    }
}
