//! How long the broker takes to send another delivery in the place of one that was settled.

use std::time::{Duration, Instant};

/// What takes longer is not told from an empty queue: nothing is known then.
const CEILING: Duration = Duration::from_millis(300);

/// The weights of a new time in what is known, and so many deviations above the average is hardly ever exceeded: those
/// of TCP's round trip (RFC 6298, section 2).
const OF_AVERAGE: u32 = 8;
const OF_DEVIATION: u32 = 4;
const FAR: u32 = 4;

/// The highest of one to two such spans holds, so that a stall that comes back is expected; what is older is forgotten.
const SPAN: Duration = Duration::from_secs(5);

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
    highest: Option<Highest>,
}

/// The highest estimates.
#[derive(Clone, Copy, Debug)]
struct Highest {
    /// When the present span began.
    since: Instant,
    present: Duration,
    /// Of the span before, if that was just before.
    before: Duration,
}

impl Trip {
    /// The broker sends so many from now on.
    pub(super) fn opened(&mut self, open: u16) {
        self.open = open.into();
        self.timed = None;
    }

    /// Acknowledgements are kept for a while: what is timed says nothing.
    pub(super) fn interrupted(&mut self) {
        self.timed = None;
    }

    /// One was settled, and so many are left in hand. Where fewer than a quarter of those that may be are, the broker
    /// hardly has others.
    pub(super) fn settled(&mut self, now: Instant, in_hand: usize) {
        if let Some((since, _)) = self.timed {
            if now.saturating_duration_since(since) <= CEILING {
                return;
            }
            self.forget();
        }
        let missing = self.open.saturating_sub(in_hand);
        let used = (1..=self.open - self.open.div_ceil(4)).contains(&missing);
        self.timed = used.then_some((now, missing));
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
        if time <= CEILING {
            self.note(now, time);
        } else {
            self.forget();
        }
    }

    fn note(&mut self, now: Instant, time: Duration) {
        let mixed =
            |old: Duration, new: Duration, weight| old / weight * (weight - 1) + new / weight;
        let (average, deviation) = self.known.map_or((time, time / 2), |(average, deviation)| {
            let off = average.abs_diff(time);
            (
                mixed(average, time, OF_AVERAGE),
                mixed(deviation, off, OF_DEVIATION),
            )
        });
        self.known = Some((average, deviation));
        let estimate = average + deviation * FAR;
        let highest = self.highest.filter(|highest| highest.within(now).is_some());
        let present = Highest {
            since: now,
            present: estimate,
            before: Duration::ZERO,
        };
        self.highest = Some(match highest {
            None => present,
            Some(highest) if highest.is_over(now) => Highest {
                before: highest.present,
                ..present
            },
            Some(highest) => Highest {
                present: highest.present.max(estimate),
                ..highest
            },
        });
    }

    /// What was known is wrong.
    fn forget(&mut self) {
        (self.known, self.highest) = (None, None);
    }

    /// The time within which the broker nearly always sends another in the place of one that was settled; `None` where
    /// none was timed of late.
    pub(super) fn within(&self, now: Instant) -> Option<Duration> {
        self.highest?.within(now)
    }
}

impl Highest {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= SPAN
    }

    fn within(&self, now: Instant) -> Option<Duration> {
        let present = Some(self.present);
        if !self.is_over(now) {
            return present.max(Some(self.before));
        }
        present.filter(|_| now.saturating_duration_since(self.since) < 2 * SPAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// One that was settled with all in hand is replaced after each of these.
    fn after(times: &[u32]) -> (Trip, Instant) {
        let (mut trip, mut now) = (Trip::default(), Instant::now());
        trip.opened(8);
        for time in times {
            trip.settled(now, 7);
            now += *time * MS;
            trip.came(now);
        }
        (trip, now)
    }

    #[test]
    fn each_is_replaced_by_the_one_that_comes_after_those_that_were_missing_before() {
        let (mut trip, start) = (Trip::default(), Instant::now());
        trip.opened(8);
        // One is settled every 4 ms, and replaced 10 ms after that.
        let settled = (0..400).map(|at| (start + at * 4 * MS, true));
        let came = (0..400).map(|at| (start + (at * 4 + 10) * MS, false));
        let mut events: Vec<_> = settled.chain(came).collect();
        events.sort_unstable();
        let mut in_hand = 8;
        for (now, is_settled) in events {
            if is_settled {
                in_hand -= 1;
                trip.settled(now, in_hand);
            } else {
                in_hand += 1;
                trip.came(now);
            }
        }
        let (average, deviation) = trip.known.unwrap();
        assert!(
            average.abs_diff(10 * MS) < MS && deviation < MS,
            "{average:?} {deviation:?}"
        );
    }

    #[test]
    fn uneven_ones_count_for_more_than_their_average() {
        let (trip, now) = after(&[2, 10].repeat(100));
        let within = trip.within(now).unwrap();
        assert!((18 * MS..26 * MS).contains(&within), "{within:?}");
    }

    #[test]
    fn a_stall_is_expected_again_for_a_while_and_then_forgotten() {
        let calm = [10; 100];
        let (mut trip, mut now) = after(&[&calm[..], &[100], &calm].concat());
        assert!(trip.within(now) > Some(100 * MS));
        for _ in 0..2 * SPAN.as_millis() / 10 {
            trip.settled(now, 7);
            now += 10 * MS;
            trip.came(now);
        }
        assert!(trip.within(now) < Some(20 * MS), "{:?}", trip.within(now));
        assert_eq!(trip.within(now + 2 * SPAN), None, "nothing is timed");
    }

    #[test]
    fn where_the_broker_became_slower_than_can_be_told_nothing_is_known() {
        for (settled_again, comes) in [(None, 350), (Some(350), 400)] {
            let (mut trip, now) = after(&[10; 20]);
            trip.settled(now, 7);
            if let Some(at) = settled_again {
                trip.settled(now + at * MS, 6);
            }
            trip.came(now + comes * MS);
            assert_eq!(trip.within(now + comes * MS), None);
        }
    }

    #[test]
    fn where_the_broker_has_no_more_nothing_is_timed() {
        let (mut trip, now) = after(&[]);
        // Seven are missing, and come as they are published.
        trip.settled(now, 1);
        (1..=7).for_each(|at| trip.came(now + at * MS));
        assert_eq!(trip.within(now), None);
        trip.settled(now, 3);
        (1..=5).for_each(|at| trip.came(now + at * MS));
        assert_eq!(trip.within(now), Some(15 * MS), "five are as likely as not");
        for open in 0..3 {
            trip.opened(open);
            trip.settled(now, 0);
            trip.came(now + MS);
        }
        assert_eq!(trip.within(now).unwrap(), 15 * MS);
    }

    #[test]
    fn nothing_is_told_by_what_is_timed_amid_other_credit_or_kept_acknowledgements() {
        let (mut trip, now) = after(&[4]);
        trip.settled(now, 7);
        trip.opened(16);
        trip.came(now + 200 * MS);
        trip.settled(now, 15);
        trip.interrupted();
        trip.came(now + 200 * MS);
        assert_eq!(trip.within(now), Some(12 * MS));
    }
}
