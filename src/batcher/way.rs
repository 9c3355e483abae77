//! How long requests are on their way to the model, and answers on their way back.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How long requests and replies are on their way to and from the broker, confirms and acknowledgements included.
pub(super) const ON_THE_WAY: Duration = Duration::from_millis(300);

/// The weight of a new time is one part in this many.
const TIMES: u32 = 16;

/// An average with one more time in it; a stall is not how long things take.
pub(super) fn mixed(average: Duration, time: Duration) -> Duration {
    average / TIMES * (TIMES - 1) + time.min(ON_THE_WAY) / TIMES
}

/// One that is so many times shorter than the average ends a stall: nobody waits until many have told the same.
const SHORTER: u32 = 4;

/// How long answers are on their way once their run is over, on average.
#[derive(Debug, Default)]
pub(super) struct Trail(AtomicU64);

impl Trail {
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
        self.0.store(average, Ordering::Relaxed);
    }

    pub(super) fn average(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
