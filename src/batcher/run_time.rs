//! How long batches run, as far as anybody knows before they have.

use std::time::Duration;

/// How long batches run.
pub trait RunTime {
    /// Likely, for a batch of so many rows.
    fn likely(&self, rows: usize) -> Duration;

    /// Hardly ever more than this.
    fn longest(&self, rows: usize) -> Duration;

    /// What [`longest`](RunTime::longest) counts that is no chance: how long answers are on their way once a run is over.
    fn trail(&self, _rows: usize) -> Duration {
        Duration::ZERO
    }

    /// The most batches of so many rows that may be over in this time, one after another; `None` for any number. Of
    /// independent runs variances add up: what is far from likely for one, is √n times as far for the sum of n. So that
    /// is hardly ever less than n [`likely`](RunTime::likely) − √n times what is far; no run takes less than nothing.
    fn most_in(&self, time: Duration, rows: usize) -> Option<usize> {
        let (likely, trail) = (self.likely(rows), self.trail(rows));
        let far = self.longest(rows).saturating_sub(likely + trail);
        let (far, likely) = (far.min(likely).as_nanos(), likely.as_nanos());
        let time = time.saturating_sub(trail).as_nanos();
        // √n, of the quadratic equation, times 2 likely; rounded up.
        let under = likely.saturating_mul(time).saturating_mul(4);
        let root = far + far.saturating_mul(far).saturating_add(under).isqrt() + 1;
        let most = root.saturating_mul(root).checked_div(4 * likely * likely)?;
        usize::try_from(most).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Likely, at the longest, and on the way.
    struct Takes(u32, u32, u32);

    impl RunTime for Takes {
        fn likely(&self, _: usize) -> Duration {
            MS * self.0
        }

        fn longest(&self, _: usize) -> Duration {
            MS * self.1
        }

        fn trail(&self, _: usize) -> Duration {
            MS * self.2
        }
    }

    #[test]
    fn as_many_are_over_as_the_time_is_long_and_more_where_some_may_be_short() {
        let most = |takes: Takes, ms| takes.most_in(MS * ms, 1);
        let even = || Takes(10, 10, 0);
        assert_eq!(
            [0, 99, 100].map(|ms| most(even(), ms)),
            [0, 9, 10].map(Some)
        );
        // 16 × 10 − 4 × 5 = 140
        let uneven = || Takes(10, 15, 0);
        assert_eq!([139, 140].map(|ms| most(uneven(), ms)), [15, 16].map(Some));
    }

    #[test]
    fn answers_on_their_way_take_their_time_once_and_are_no_chance() {
        let takes = Takes(10, 18, 8);
        assert_eq!(
            [107, 108].map(|ms| takes.most_in(MS * ms, 1)),
            [9, 10].map(Some)
        );
    }

    #[test]
    fn a_run_that_may_take_much_longer_takes_no_less_than_nothing() {
        // 4 × 10 − 2 × 10 = 20
        let wild = Takes(10, 1_000, 0);
        assert_eq!(
            [19, 20].map(|ms| wild.most_in(MS * ms, 1)),
            [3, 4].map(Some)
        );
    }

    #[test]
    fn no_end_of_them_is_over_where_nothing_is_known_or_nobody_can_count_them() {
        assert_eq!(Takes(0, 0, 0).most_in(MS, 1), None);
        assert_eq!(Takes(1, 1, 0).most_in(Duration::MAX, 1), None);
    }
}
