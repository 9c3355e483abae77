//! How long the broker takes to send another delivery in the place of one that was settled.

use std::time::{Duration, Instant};

/// What takes longer was no trip: the queue was empty, or the broker stood still.
const LONGEST: Duration = Duration::from_millis(300);

/// The weights of a new time in what is known, and so many deviations above the average is hardly ever exceeded: those
/// of TCP's round trip (RFC 6298, section 2).
const OF_AVERAGE: u32 = 8;
const OF_DEVIATION: u32 = 4;
const FAR: u32 = 4;

/// From a settlement until what it makes room for is here: the acknowledgement's wait for others to go with, the
/// broker's work, and the way there and back. One is timed after the other, as TCP times its segments.
#[derive(Debug, Default)]
pub(super) struct Trip {
    /// The broker sends so many before it waits for acknowledgements.
    open: usize,
    /// When the one that is timed was settled, and how many are to come up to the one in its place.
    timed: Option<(Instant, usize)>,
    /// The average, and how far from it they are.
    known: Option<(Duration, Duration)>,
}

impl Trip {
    /// The broker sends so many from now on.
    pub(super) fn opened(&mut self, open: u16) {
        *self = Trip {
            open: open.into(),
            timed: None,
            ..*self
        };
    }

    /// Acknowledgements are kept for a while: what is timed says nothing.
    pub(super) fn interrupted(&mut self) {
        self.timed = None;
    }

    /// One was settled, and so many are left in hand. Where fewer than half of those that may be are, the broker hardly
    /// has others.
    pub(super) fn settled(&mut self, now: Instant, in_hand: usize) {
        let is_over = |(since, _)| now.saturating_duration_since(since) > LONGEST;
        let missing = self.open.saturating_sub(in_hand);
        if self.timed.is_none_or(is_over) {
            self.timed = (1..=self.open / 2)
                .contains(&missing)
                .then_some((now, missing));
        }
    }

    /// One came.
    pub(super) fn came(&mut self, now: Instant) {
        let Some((since, missing)) = &mut self.timed else {
            return;
        };
        *missing -= 1;
        if *missing > 0 {
            return;
        }
        let time = now.saturating_duration_since(*since);
        self.timed = None;
        if time <= LONGEST {
            self.note(time);
        }
    }

    fn note(&mut self, time: Duration) {
        let mixed =
            |old: Duration, new: Duration, weight| old / weight * (weight - 1) + new / weight;
        self.known = Some(self.known.map_or((time, time / 2), |(average, deviation)| {
            let off = average.abs_diff(time);
            (
                mixed(average, time, OF_AVERAGE),
                mixed(deviation, off, OF_DEVIATION),
            )
        }));
    }

    /// What one hardly ever takes longer than; `None` before any was timed.
    pub(super) fn longest(&self) -> Option<Duration> {
        let (average, deviation) = self.known?;
        Some(average + deviation * FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// With 4 in hand of 4: each is replaced after `trip`, one every millisecond.
    fn steady(trip: &mut Trip, now: Instant, ms: u32, times: u32) {
        trip.opened(4);
        for at in 0..times {
            let now = now + at * MS;
            trip.settled(now, 4 - 1 - usize::try_from(at.min(ms - 1)).unwrap());
            if at + 1 >= ms {
                trip.came(now + MS);
            }
        }
    }

    #[test]
    fn each_is_replaced_by_the_one_that_comes_after_those_that_were_missing_before() {
        let mut trip = Trip::default();
        steady(&mut trip, Instant::now(), 2, 200);
        let longest = trip.longest().unwrap();
        assert!((2 * MS..3 * MS).contains(&longest), "{longest:?}");
    }

    #[test]
    fn uneven_ones_count_for_more_than_their_average() {
        let (mut trip, start) = (Trip::default(), Instant::now());
        trip.opened(2);
        for at in 0..200 {
            let now = start + at * 100 * MS;
            trip.settled(now, 1);
            trip.came(now + if at % 2 == 0 { 2 * MS } else { 10 * MS });
        }
        let longest = trip.longest().unwrap();
        assert!((18 * MS..26 * MS).contains(&longest), "{longest:?}");
    }

    #[test]
    fn where_the_broker_has_no_more_nothing_is_timed() {
        let (mut trip, now) = (Trip::default(), Instant::now());
        trip.opened(8);
        // Five are missing, and come as they are published.
        trip.settled(now, 3);
        (1..=5).for_each(|at| trip.came(now + at * MS));
        assert_eq!(trip.longest(), None);
        // The last of a backlog, and what comes a second later.
        trip.settled(now, 7);
        trip.came(now + 1000 * MS);
        assert_eq!(trip.longest(), None);
        // One that never came holds up no other.
        trip.settled(now, 7);
        trip.settled(now + 1000 * MS, 7);
        trip.came(now + 1004 * MS);
        assert_eq!(trip.longest(), Some(12 * MS));
        // Other consumers have the backlog, or acknowledgements are held back.
        trip.settled(now, 7);
        trip.opened(16);
        trip.came(now + 200 * MS);
        trip.settled(now, 15);
        trip.interrupted();
        trip.came(now + 200 * MS);
        assert_eq!(trip.longest(), Some(12 * MS));
    }
}
