//! What a device has ahead of the next batch, where batches are launched one behind the other.
//!
//! A batch that goes behind another gains nothing by leaving early: rows that come until it would run may still join it.
//! So a batch that is not full leaves just in time for its rows to be written and copied before the one ahead of it is
//! over; a full one leaves at once.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{appetite::Appetite, run_time::RunTime};

/// The weight of a new launch is one part in this many.
const LAUNCHES: u32 = 8;

/// How many times as long as it takes to launch a batch it leaves ahead of its time: rows are written, and then copied.
const IN_TIME: u32 = 2;

/// Batches that were launched and are not over, and when they are likely to be.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Rows of each, the first first.
    rows: VecDeque<usize>,
    /// When all are likely to be over.
    until: Option<Instant>,
    /// How long a launch takes, on average.
    launch: Duration,
}

impl Ahead {
    /// A batch was launched, which took so long.
    pub(super) fn launched(&mut self, now: Instant, rows: usize, took: Duration, runs: &Appetite) {
        self.launch = self.launch / LAUNCHES * (LAUNCHES - 1) + took / LAUNCHES;
        self.rows.push_back(rows);
        let behind = self.until.map_or(now, |until| until.max(now));
        self.until = Some(behind + runs.likely(rows));
    }

    /// The first of them is over.
    pub(super) fn landed(&mut self, now: Instant, runs: &Appetite) {
        self.rows.pop_front();
        let rest = self.rows.iter().map(|rows| runs.likely(*rows));
        let rest: Duration = rest.sum();
        self.until = (!self.rows.is_empty()).then(|| now + rest);
    }

    /// When a batch leaves that would leave at `due` if nothing were ahead of it.
    pub(super) fn hold(&self, due: Instant, is_full: bool) -> Instant {
        let until = self.until.filter(|_| !is_full);
        let in_time = until.and_then(|until| until.checked_sub(self.launch * IN_TIME));
        in_time.map_or(due, |in_time| in_time.max(due))
    }

    /// How long all of these are likely to run on.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let until = self.until.unwrap_or(now);
        until.saturating_duration_since(now)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Run times, from the launch on, as they are for who goes behind what runs on for so long.
pub(super) struct Behind<'a> {
    pub(super) runs: &'a Appetite,
    pub(super) ahead: Duration,
}

impl RunTime for Behind<'_> {
    fn likely(&self, rows: usize) -> Duration {
        self.runs.likely(rows)
    }

    fn longest(&self, rows: usize) -> Duration {
        self.runs.longest(rows) + self.ahead
    }

    fn trail(&self, rows: usize) -> Duration {
        self.runs.trail(rows) + self.ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_batch_that_is_not_full_leaves_in_time_to_go_behind_the_one_ahead() {
        let mut runs = Appetite::default();
        runs.record(8, 10 * MS);
        let (mut ahead, now) = (Ahead::default(), Instant::now());
        assert_eq!(ahead.hold(now, false), now, "nothing is ahead");
        assert_eq!((ahead.left(now), ahead.is_empty()), (Duration::ZERO, true));

        ahead.launched(now, 8, 8 * MS, &runs);
        assert_eq!(ahead.hold(now, true), now);
        assert_eq!(ahead.hold(now, false), now + 8 * MS);
        assert_eq!(ahead.hold(now + 9 * MS, false), now + 9 * MS);
        ahead.launched(now + MS, 8, MS, &runs);
        assert!(ahead.hold(now, false) > now + 17 * MS);
        let behind = Behind {
            runs: &runs,
            ahead: ahead.left(now + 4 * MS),
        };
        assert_eq!(behind.longest(8), runs.longest(8) + 16 * MS);
        assert_eq!(
            behind.likely(8),
            10 * MS,
            "the device has no more to do for it"
        );

        // The first was over later than was likely.
        ahead.landed(now + 15 * MS, &runs);
        assert!(ahead.hold(now, false) > now + 22 * MS);
        ahead.landed(now + 25 * MS, &runs);
        assert_eq!(ahead.hold(now, false), now);
    }
}
