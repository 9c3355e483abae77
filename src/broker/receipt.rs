//! What a delivery's handler settles it with.

use crate::broker::ledger::{Ledger, Verdict};
use std::sync::Arc;
use std::time::Instant;

/// The duty to settle one delivery exactly once. After a reconnect it is stale and settling does nothing:
/// the broker has given the message to someone else.
#[must_use = "a receipt that is dropped gives its message back and counts as a failure"]
#[derive(Debug)]
pub struct Receipt {
    ledger: Arc<Ledger>,
    tag: u64,
    decided: bool,
    settled: bool,
}

impl Receipt {
    pub(super) fn new(ledger: &Arc<Ledger>, tag: u64) -> Receipt {
        Receipt {
            ledger: Arc::clone(ledger),
            tag,
            decided: false,
            settled: false,
        }
    }

    pub(super) fn tag(&self) -> u64 {
        self.tag
    }

    /// The verdict is known: whatever its reply waits for, this delivery takes no worker with it any more.
    pub fn decided(&mut self) {
        if !std::mem::replace(&mut self.decided, true) {
            self.ledger.decided();
        }
    }

    /// Done with: the broker forgets the message.
    pub fn ack(mut self) {
        self.settle(Verdict::Ack);
    }

    /// Given back without blame, to drain (`basic.nack`).
    pub fn requeue(mut self) {
        self.settle(Verdict::Requeue);
    }

    /// Given back after a failure (`basic.reject`): the broker counts it.
    pub fn reject(mut self) {
        self.settle(Verdict::Reject);
    }

    fn settle(&mut self, verdict: Verdict) {
        self.decided();
        self.settled = true;
        self.ledger.settle(self.tag, verdict, Instant::now());
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.settled {
            self.ledger.dropped();
            self.settle(Verdict::Reject);
        }
    }
}
