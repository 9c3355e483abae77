//! A queue that is never empty.

use crate::packages::Kind;
use crate::requester::{Requester, WINDOW};
use anyhow::Result;
use lapin::message::Delivery;
use std::time::{Duration, Instant};

/// Requests in the queue and at the worker, of what never ends.
const DEEP: usize = 4_000;

/// More than a worker has in hand, and no more than is worked off in seconds.
pub fn deep_for(kind: Kind) -> usize {
    if kind == Kind::Conv { 200 } else { DEEP }
}

impl Requester {
    /// Keeps so many requests in the queue and at workers for so long; the replies that have come.
    pub async fn never_empty(&mut self, deep: usize, lasts: Duration) -> Result<Vec<Delivery>> {
        let (producer, until) = (self.producer(), Instant::now() + lasts);
        let mut replies = Vec::new();
        while Instant::now() < until {
            let count = deep.saturating_sub(self.open).min(WINDOW);
            if count > 0 {
                let window = self.asked..self.asked + count as u64;
                let window = window.map(|index| (index, None)).collect();
                producer.publish(window).await?;
                self.asked += count as u64;
                self.open += count;
            }
            let left = until.saturating_duration_since(Instant::now());
            let some = self.next_within(left).await?;
            self.open -= some.len();
            replies.extend(some);
        }
        Ok(replies)
    }

    /// Takes the replies that are still to come.
    pub async fn empty(&mut self) -> Result<()> {
        while self.open > 0 {
            self.open -= self.next().await?.len();
        }
        Ok(())
    }
}
