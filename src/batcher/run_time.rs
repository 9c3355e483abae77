//! How long batches run, as far as anybody knows before they have.

use std::time::Duration;

/// How long batches run.
pub trait RunTime {
    /// Likely, for a batch of so many rows.
    fn likely(&self, rows: usize) -> Duration;

    /// Hardly ever more than this.
    fn longest(&self, rows: usize) -> Duration;

    /// The most batches of so many rows that may be over in this time, one after another; `None` for any number. Of
    /// independent runs variances add up: what is far from likely for one, is √n times as far for the sum of n. So that
    /// is hardly ever less than n [`likely`](RunTime::likely) − √n ([`longest`](RunTime::longest) − likely).
    fn most_in(&self, time: Duration, rows: usize) -> Option<usize> {
        let likely = self.likely(rows).as_nanos();
        let far = self.longest(rows).as_nanos().saturating_sub(likely);
        // √n, of the quadratic equation, times 2 likely; rounded up.
        let under = likely.saturating_mul(time.as_nanos()).saturating_mul(4);
        let root = far + far.saturating_mul(far).saturating_add(under).isqrt() + 1;
        let most = root.saturating_mul(root).checked_div(4 * likely * likely)?;
        usize::try_from(most).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    struct Takes(Duration, Duration);

    impl RunTime for Takes {
        fn likely(&self, _: usize) -> Duration {
            self.0
        }

        fn longest(&self, _: usize) -> Duration {
            self.1
        }
    }

    #[test]
    fn as_many_are_over_as_the_time_is_long_and_more_where_some_may_be_short() {
        let even = Takes(10 * MS, 10 * MS);
        assert_eq!(even.most_in(99 * MS, 1), Some(9));
        assert_eq!(even.most_in(100 * MS, 1), Some(10));
        assert_eq!(even.most_in(Duration::ZERO, 1), Some(0));
        // 16 × 10 − 4 × 15 = 100
        assert_eq!(Takes(10 * MS, 25 * MS).most_in(100 * MS, 1), Some(16));
        assert_eq!(Takes(10 * MS, 25 * MS).most_in(99 * MS, 1), Some(15));
    }

    #[test]
    fn no_end_of_them_is_over_where_nothing_is_known_or_nobody_can_count_them() {
        let unknown = Takes(Duration::ZERO, Duration::ZERO);
        assert_eq!(unknown.most_in(MS, 1), None);
        let quick = Takes(Duration::from_nanos(1), Duration::from_nanos(1));
        assert!(
            quick
                .most_in(Duration::MAX, 1)
                .is_none_or(|most| most > 1 << 60)
        );
    }
}
