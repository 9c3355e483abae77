//! How many requests a batcher wants at hand, and how many there may be without one being refused.

use super::appetite::size;

/// The weight of a request in what is known of them is one part in this many.
const REQUESTS: f64 = 256.0;

/// Something that is so many standard deviations off is hardly ever seen: once in a thousand times.
const DEVIATIONS: f64 = 3.0;

/// What a batcher wants of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Requests in hand that keep the sessions busy: what runs, what gathers meanwhile, and what the device does while
    /// requests and replies are on their way to and from the broker; from 1 to `most`.
    pub requests: usize,
    /// Requests of which the model is not done.
    pub under_way: usize,
    /// Requests that may wait, all at once, if they have rows as those before them had; at least 1. What is in hand and
    /// waits for its reply may have made room for others that come before that reply is confirmed: with more in hand
    /// than this, some would be refused.
    pub most: usize,
}

impl Wants {
    /// What the versions of a package want of each of so many queues that they share, of which one has so many in hand:
    /// `None` where there is no version.
    ///
    /// All that comes may be for any one of the versions, and from any one of the queues.
    pub fn of_each(
        versions: impl Iterator<Item = Wants>,
        queues: usize,
        in_hand: usize,
    ) -> Option<usize> {
        let all = versions.reduce(|all, one| Wants {
            requests: all.requests.max(one.requests),
            under_way: all.under_way + one.under_way,
            most: all.most.min(one.most),
        })?;
        // What the models are done with waits for its replies, and wants others in its place.
        let answered = in_hand.saturating_sub(all.under_way);
        let wanted = all.requests.saturating_add(answered);
        Some(wanted.min(all.most / queues.max(1)).max(1))
    }
}

/// How many rows requests have, lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    /// Of a request, on average; 0 before there was one.
    mean: f64,
    /// Of the square of that.
    square: f64,
}

impl Sizes {
    /// A request of so many rows came.
    pub(super) fn saw(&mut self, rows: usize) {
        let rows = size(rows);
        if self.mean == 0.0 {
            *self = Sizes::all(rows);
        }
        self.mean += (rows - self.mean) / REQUESTS;
        self.square += (rows * rows - self.square) / REQUESTS;
    }

    /// As if all had so many rows, where none has come yet.
    pub(super) fn or_like(self, rows: usize) -> Sizes {
        if self.mean > 0.0 {
            self
        } else {
            Sizes::all(size(rows).max(1.0))
        }
    }

    fn all(rows: f64) -> Sizes {
        Sizes {
            mean: rows,
            square: rows * rows,
        }
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
    /// mean, give or take √n standard deviations; and the mean is known to one √(2 [`REQUESTS`] - 1)th of one, which
    /// is how far a mean of such weights strays (S. W. Roberts, 1959).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not below 1, and no more than there are rows"
    )]
    pub(super) fn surely_within(self, rows: usize) -> usize {
        let deviation = (self.square - self.mean * self.mean).max(0.0).sqrt();
        let apart = DEVIATIONS * deviation;
        let mean = self.mean.max(1.0) + apart / (2.0 * REQUESTS - 1.0).sqrt();
        // n × mean + √n × apart = rows, for √n.
        let root = ((apart * apart + 4.0 * mean * size(rows)).sqrt() - apart) / (2.0 * mean);
        (root * root + 1e-9).max(1.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wants(requests: usize, under_way: usize, most: usize) -> Wants {
        Wants {
            requests,
            under_way,
            most,
        }
    }

    #[test]
    fn versions_share_what_comes_and_queues_share_the_room() {
        let each = |versions: &[Wants], queues, in_hand| {
            Wants::of_each(versions.iter().copied(), queues, in_hand)
        };
        assert_eq!(each(&[], 1, 0), None);
        assert_eq!(each(&[wants(192, 0, 4_096)], 1, 0), Some(192));
        assert_eq!(each(&[wants(192, 100, 4_096)], 1, 150), Some(192 + 50));
        let two = [wants(192, 60, 4_096), wants(100, 40, 100)];
        assert_eq!(each(&two, 1, 150), Some(100), "all may be for the second");
        assert_eq!(each(&two, 2, 0), Some(50), "and as many from each queue");
        assert_eq!(
            each(&[wants(1, 0, 1)], 2, 0),
            Some(1),
            "or nothing would come"
        );
    }

    #[test]
    fn where_all_have_as_many_rows_the_room_is_used_to_the_last() {
        let mut sizes = Sizes::default();
        for rows in [1, 3, 64] {
            assert_eq!(
                Sizes::default().or_like(rows).surely_within(4_096),
                4_096 / rows
            );
        }
        assert_eq!(Sizes::default().or_like(0).requests(7), 7);
        sizes.saw(32);
        assert_eq!((sizes.surely_within(4_096), sizes.requests(33)), (128, 2));
    }

    proptest! {
        /// Of requests of which one in `rare` is large, taken at random.
        #[test]
        fn as_many_as_surely_fit_do_fit(
            large in 2..500_usize, rare in 2..20_u32, limit in 1_000..5_000_usize, seed: u64,
        ) {
            let mut state = seed | 1;
            let mut next = || {
                // xorshift64 (Marsaglia, 2003)
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                if ((state >> 32) as u32).is_multiple_of(rare) { large } else { 1 }
            };
            let mut sizes = Sizes::default();
            (0..1_000).for_each(|_| sizes.saw(next()));
            let mut over = 0;
            for _ in 0..200 {
                let most = sizes.surely_within(limit);
                let rows: usize = (0..most).map(|_| { let rows = next(); sizes.saw(rows); rows }).sum();
                over += u32::from(most > 1 && rows > limit);
            }
            prop_assert!(over <= 10, "{over} of 200");
        }
    }
}
