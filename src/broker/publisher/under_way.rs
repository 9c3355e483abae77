//! A window that is being published.

use super::Shared;
use crate::broker::outbox::{Destination, Job, Lane};
use std::sync::atomic::Ordering;

/// Is counted until this is dropped, however it ends.
pub(super) struct UnderWay<'a> {
    shared: &'a Shared,
    count: usize,
    /// Others of the main lane may have to wait for it.
    in_the_way: bool,
    /// Of the side lane.
    destination: Option<Destination>,
}

impl UnderWay<'_> {
    pub(super) fn of<'a>(shared: &'a Shared, lane: Lane, window: &[Job]) -> UnderWay<'a> {
        let count = window.len();
        shared.in_flight.fetch_add(count, Ordering::Relaxed);
        let side = window.first().filter(|_| lane == Lane::Side);
        UnderWay {
            shared,
            count,
            in_the_way: lane == Lane::Main,
            destination: side.map(Job::destination),
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn make_way(&mut self) {
        if std::mem::take(&mut self.in_the_way) {
            self.shared.outbox.over(self.count);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.shared
            .in_flight
            .fetch_sub(self.count, Ordering::Relaxed);
        self.make_way();
        if let Some(destination) = &self.destination {
            self.shared.outbox.served(destination);
        }
    }
}
