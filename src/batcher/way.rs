//! How long requests are on their way to the model, and answers on their way back.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use super::policy::Traffic;

/// How long requests and replies are on their way to and from the broker, confirms and acknowledgements included, at
/// most, and while that is not known (`broker::ledger::trip` times no trip that is longer).
pub(super) const ON_THE_WAY: Duration = Duration::from_millis(300);

/// They may be as long as this where little is under way: who can wait for less is taken to.
pub(super) const AT_LEAST: Duration = Duration::from_millis(100);

/// The weight of a new time is one part in this many.
const TIMES: u32 = 16;

/// An average with one more time in it; a stall is not how long things take.
pub(super) fn mixed(average: Duration, time: Duration) -> Duration {
    average / TIMES * (TIMES - 1) + time.min(ON_THE_WAY) / TIMES
}

/// One that is so many times shorter than the average ends a stall: nobody waits until many have told the same.
const SHORTER: u32 = 4;

/// Answers on their way back.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// How long one is once its run is over, on average, in nanoseconds.
    average: AtomicU64,
    /// How many are.
    going: AtomicUsize,
}

impl Trail {
    /// One leaves.
    pub(super) fn begin(&self) {
        self.going.fetch_add(1, Ordering::Relaxed);
    }

    /// It is there, or never will be.
    pub(super) fn end(&self) {
        self.going.fetch_sub(1, Ordering::Relaxed);
    }

    /// What comes in their place, where each makes room for another that waits for it.
    pub(super) fn replaced(&self) -> Traffic {
        Traffic {
            coming: self.going.load(Ordering::Relaxed),
            lead: self.average(),
        }
    }

    /// One was so long on its way.
    pub(super) fn note(&self, time: Duration) {
        // One of two at the same moment may be lost.
        let average = self.average();
        let average = if time < average / SHORTER {
            time
        } else {
            mixed(average, time)
        };
        let average = average.as_nanos();
        let average = u64::try_from(average).unwrap_or(u64::MAX);
        self.average.store(average, Ordering::Relaxed);
    }

    pub(super) fn average(&self) -> Duration {
        Duration::from_nanos(self.average.load(Ordering::Relaxed))
    }
}

/// Both as one: of each, coming ÷ lead come in a second (Little's law).
pub(super) fn together(one: Traffic, other: Traffic) -> Traffic {
    let coming = one.coming + other.coming;
    let rate = |Traffic { coming, lead }| many(coming) / lead.as_secs_f64().max(f64::EPSILON);
    let lead = many(coming) / (rate(one) + rate(other)).max(f64::EPSILON);
    let lead = Duration::try_from_secs_f64(lead).unwrap_or_default();
    Traffic { coming, lead }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn many(requests: usize) -> f64 {
    requests as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_two_sides_comes_as_often_as_from_both() {
        const MS: Duration = Duration::from_millis(1);
        let traffic = |coming, lead| Traffic { coming, lead };
        assert_eq!(together(Traffic::default(), Traffic::default()).coming, 0);
        let both = together(traffic(10, 10 * MS), traffic(90, 30 * MS));
        // One and three a millisecond.
        assert_eq!(both, traffic(100, 25 * MS));
        assert_eq!(
            together(traffic(7, 2 * MS), Traffic::default()),
            traffic(7, 2 * MS)
        );
        assert_eq!(
            together(traffic(7, Duration::ZERO), traffic(1, MS)).lead,
            Duration::ZERO
        );
    }

    #[test]
    fn what_is_on_its_way_back_is_counted() {
        let trail = Trail::default();
        trail.begin();
        trail.begin();
        trail.end();
        assert_eq!(trail.replaced().coming, 1);
    }

    #[test]
    fn the_average_follows_and_a_stall_says_little() {
        const MS: Duration = Duration::from_millis(1);
        let trail = Trail::default();
        for _ in 0..100 {
            trail.note(4 * MS);
        }
        assert!(trail.average().abs_diff(4 * MS) < MS / 10);
        trail.note(Duration::from_secs(60));
        assert!(trail.average() < 25 * MS);
        for _ in 0..256 {
            trail.note(Duration::from_secs(5));
        }
        trail.note(3 * MS);
        assert_eq!(trail.average(), 3 * MS, "the stall is over");
    }
}
