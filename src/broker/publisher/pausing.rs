//! A publication between two tries: in no lane, and not settled.

use super::Shared;
use crate::broker::outbox::Job;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One that pauses is counted until this is dropped, however its pause ends.
struct Pausing(Arc<Shared>);

impl Pausing {
    fn of(shared: &Arc<Shared>) -> Pausing {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Pausing(Arc::clone(shared))
    }
}

impl Drop for Pausing {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Puts it back into its lane after the pause.
pub(super) fn put_back_after(pause: Duration, job: Job, shared: &Arc<Shared>) {
    let pausing = Pausing::of(shared);
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        pausing.0.outbox.put_back(vec![job]);
    });
}
