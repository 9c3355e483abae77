//! How many requests a batcher wants at hand, and how many there may be without one being refused.

use std::time::{Duration, Instant};

use super::appetite::size;

/// The weight of a request in what is known of them is one part in this many, once so many have come.
const REQUESTS: f64 = 256.0;

/// A version that was not asked for so long has no part in how many requests may come for it.
const LATELY: Duration = Duration::from_secs(10);

/// Something that is so many standard deviations off is hardly ever seen: once or twice in a thousand times on average.
/// Where a few large requests fill the room it is more often, but no more than three times in a hundred.
const DEVIATIONS: f64 = 3.0;

/// What a batcher wants of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Requests in hand that keep the sessions busy: what runs, what gathers meanwhile, and what the device does while
    /// requests and replies are on their way to and from the broker, or can wait if that is less; from 1 to `most`.
    pub requests: usize,
    /// Requests of which the model is not done.
    pub under_way: usize,
    /// Requests that may wait, all at once, if they have rows as those before them had; at least 1. What is in hand and
    /// waits for its reply may have made room for others that come before that reply is confirmed: with more in hand
    /// than this, some would be refused.
    pub most: usize,
    /// Whether a request has come within the last seconds.
    pub lately: bool,
}

impl Wants {
    /// What the versions of a package want of each of so many queues that they share: `None` where there is no version.
    ///
    /// All that comes may be for any one of the versions that are asked these days, and from any one of the queues.
    #[must_use]
    pub fn of_each(versions: &[Wants], queues: usize) -> Option<Wants> {
        let lately = versions.iter().any(|version| version.lately);
        let asked = versions.iter().copied();
        let asked = asked.filter(|version| version.lately == lately);
        let all = asked.reduce(|all, one| Wants {
            requests: all.requests.saturating_add(one.requests),
            under_way: all.under_way + one.under_way,
            most: all.most.min(one.most),
            ..all
        })?;
        let most = (all.most / queues.max(1)).max(1);
        Some(Wants { most, ..all })
    }

    /// The same where so many are in hand: what the models are done with waits for its replies, and wants others in its
    /// place.
    #[must_use]
    pub fn beside(self, in_hand: usize) -> usize {
        let answered = in_hand.saturating_sub(self.under_way);
        self.requests.saturating_add(answered)
    }
}

/// How many rows requests have, lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    /// Requests that have come; more than tell of the mean count no further.
    count: f64,
    /// Rows of one, on average.
    mean: f64,
    /// The square of that, on average.
    square: f64,
    last: Option<Instant>,
}

/// A mean of such weights is known as well as that of so many (S. W. Roberts, 1959).
const KNOWN: f64 = 2.0 * REQUESTS - 1.0;

impl Sizes {
    /// A request of so many rows came.
    pub(super) fn saw(&mut self, rows: usize, now: Instant) {
        let rows = size(rows);
        self.count = (self.count + 1.0).min(KNOWN);
        let weight = self.count.min(REQUESTS);
        self.mean += (rows - self.mean) / weight;
        self.square += (rows * rows - self.square) / weight;
        self.last = Some(now);
    }

    /// As if all had so many rows, where none has come yet.
    pub(super) fn or_like(self, rows: usize) -> Sizes {
        if self.count > 0.0 {
            return self;
        }
        let mean = size(rows).max(1.0);
        Sizes {
            count: 1.0,
            mean,
            square: mean * mean,
            last: None,
        }
    }

    /// When one came last.
    pub(super) fn last(&self) -> Option<Instant> {
        self.last
    }

    /// Whether one has come within [`LATELY`].
    pub(super) fn is_recent(&self, now: Instant) -> bool {
        let ago = self.last.map(|last| now.saturating_duration_since(last));
        ago.is_some_and(|ago| ago < LATELY)
    }

    /// As many requests as have so many rows, on average.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not below nothing, and as many as there are rows"
    )]
    pub(super) fn requests(self, rows: usize) -> usize {
        (size(rows) / self.mean.max(1.0)).ceil() as usize
    }

    /// The most requests that hardly ever have more than so many rows together; at least 1. n of them have n times the
    /// mean, give or take √n standard deviations; and the mean of m that have come is known to one √mth of one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not below 1, and no more than there are rows"
    )]
    pub(super) fn surely_within(self, rows: usize) -> usize {
        let deviation = (self.square - self.mean * self.mean).max(0.0).sqrt();
        let apart = DEVIATIONS * deviation;
        let mean = self.mean.max(1.0) + apart / self.count.max(1.0).sqrt();
        // n × mean + √n × apart = rows, for √n.
        let root = ((apart * apart + 4.0 * mean * size(rows)).sqrt() - apart) / (2.0 * mean);
        (root * root + 1e-9).max(1.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::iter::{repeat, repeat_with};

    use proptest::prelude::*;

    use super::*;

    fn wants(requests: usize, under_way: usize, most: usize, lately: bool) -> Wants {
        Wants {
            requests,
            under_way,
            most,
            lately,
        }
    }

    #[test]
    fn versions_share_what_comes_and_queues_share_the_room() {
        let each = |versions: &[Wants], queues| {
            let wants = Wants::of_each(versions, queues)?;
            Some((wants.beside(150), wants.most))
        };
        assert_eq!(each(&[], 1), None);
        assert_eq!(each(&[wants(192, 160, 4_096, true)], 1), Some((192, 4_096)));
        assert_eq!(
            each(&[wants(192, 100, 4_096, false)], 1),
            Some((242, 4_096))
        );
        let both = |lately| [wants(192, 60, 4_096, lately), wants(100, 40, 100, lately)];
        for lately in [true, false] {
            let two = both(lately);
            assert_eq!(each(&two, 1), Some((342, 100)), "all may be for the second");
            assert_eq!(
                each(&two, 2),
                Some((342, 50)),
                "and as many from each queue"
            );
        }
        let idle = [wants(192, 60, 4_096, true), wants(100, 40, 100, false)];
        assert_eq!(
            each(&idle, 1),
            Some((282, 4_096)),
            "nothing comes for the second"
        );
        assert_eq!(
            each(&[wants(1, 0, 1, true)], 2),
            Some((151, 1)),
            "or nothing would come"
        );
    }

    #[test]
    fn where_all_have_as_many_rows_the_room_is_used_to_the_last() {
        let (mut sizes, now) = (Sizes::default(), Instant::now());
        for rows in [1, 3, 64] {
            assert_eq!(
                Sizes::default().or_like(rows).surely_within(4_096),
                4_096 / rows
            );
        }
        assert_eq!(Sizes::default().or_like(0).requests(7), 7);
        sizes.saw(32, now);
        assert!(sizes.is_recent(now + LATELY / 2) && !sizes.is_recent(now + LATELY));
        assert_eq!((sizes.surely_within(4_096), sizes.requests(33)), (128, 2));
    }

    /// How often in so many rounds as many requests as surely fit did not, where one in `rare` is large, at random.
    fn times_over(large: usize, rare: u32, limit: usize, (rounds, seed): (usize, u64)) -> usize {
        let mut state = seed | 1;
        let mut next = || {
            // xorshift64 (Marsaglia, 2003)
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let is_large = ((state >> 32) as u32).is_multiple_of(rare);
            if is_large { large } else { 1 }
        };
        let (mut sizes, now) = (Sizes::default(), Instant::now());
        // At first no more than credit may have grown to.
        let grown = [1, 4, 16, 64, 256].into_iter().chain(repeat(usize::MAX));
        let is_over = |grown: usize| {
            let most = sizes.or_like(1).surely_within(limit).min(grown);
            let rows = repeat_with(&mut next).take(most);
            let rows: usize = rows.inspect(|rows| sizes.saw(*rows, now)).sum();
            most > 1 && rows > limit
        };
        let rounds = grown.take(rounds).map(is_over);
        rounds.filter(|is_over| *is_over).count()
    }

    #[test]
    fn as_many_as_surely_fit_do_fit_but_for_once_or_twice_in_a_thousand_times_on_average() {
        const ROUNDS: usize = 200;
        let (mut over, mut all) = (0, 0);
        for large in (5..500).step_by(20) {
            for rare in (2..20).step_by(4) {
                for limit in [1_000, 2_000, 5_000] {
                    all += ROUNDS;
                    over += times_over(large, rare, limit, (ROUNDS, all as u64));
                }
            }
        }
        let odds = size(over) / size(all);
        assert!((0.000_5..0.002).contains(&odds), "{over} of {all}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_requests_are_like_that_is_no_more_than_three_times_in_a_hundred(
            large in 2..500_usize, rare in 2..20_u32, limit in 1_000..5_000_usize, seed: u64,
        ) {
            let over = times_over(large, rare, limit, (1_000, seed));
            prop_assert!(over <= 30, "{over} of 1,000");
        }
    }
}
