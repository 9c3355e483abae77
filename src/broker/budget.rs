//! How many bytes a queue's deliveries may have in hand. RabbitMQ's prefetch counts messages only, so the count is
//! made from sizes that were seen, and shrinks at once where the sum is over the budget all the same. Pure.

/// A delivery moves the mean by one part in so many of the difference: large ones are believed soon, small ones when
/// there were some hundred.
const UP: usize = 4;
const DOWN: usize = 64;

/// The bytes of one queue's unsettled deliveries.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    /// What a delivery has, in bytes: a moving mean.
    mean: usize,
    in_hand: usize,
}

/// Deliveries that were settled, and the bytes of their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) count: usize,
    pub(super) bytes: usize,
    /// Those of which the verdict became known meanwhile, settled or not: they run no more.
    pub(super) decided: usize,
}

impl Budget {
    /// At most `most` bytes, of deliveries that are taken to have `expected` each until others are seen.
    pub(super) fn new(most: usize, expected: usize) -> Self {
        Budget {
            most,
            mean: expected,
            in_hand: 0,
        }
    }

    /// A delivery of so many bytes came.
    pub(super) fn came(&mut self, bytes: usize) {
        self.in_hand = self.in_hand.saturating_add(bytes);
        self.mean = match bytes.checked_sub(self.mean) {
            Some(more) => self.mean + more / UP,
            None => self.mean - (self.mean - bytes) / DOWN,
        };
    }

    /// So many bytes were settled.
    pub(super) fn settled(&mut self, bytes: usize) {
        self.in_hand = self.in_hand.saturating_sub(bytes);
    }

    /// Whether more is in hand than may be.
    pub(super) fn overdrawn(&self) -> bool {
        self.in_hand > self.most
    }

    /// How many deliveries of the size that was seen fit, at least one.
    pub(super) fn messages(&self) -> u16 {
        u16::try_from(self.most / self.mean.max(1)).map_or(u16::MAX, |fit| fit.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guess_gives_way_to_what_is_seen() {
        const MIB: usize = 1 << 20;
        let mut budget = Budget::new(256 * MIB, MIB);
        assert_eq!(budget.messages(), 256);
        for _ in 0..500 {
            budget.came(400);
            budget.settled(400);
        }
        assert!(budget.messages() > 2_000 && !budget.overdrawn());
        for _ in 0..500 {
            budget.came(16 * MIB);
            budget.settled(16 * MIB);
        }
        assert_eq!(budget.messages(), 16);
        (0..17).for_each(|_| budget.came(16 * MIB));
        assert!(budget.overdrawn());
        budget.settled(16 * MIB);
        assert!(!budget.overdrawn());
    }

    #[test]
    fn no_budget_is_too_small_for_one_delivery() {
        let mut budget = Budget::new(1, 0);
        budget.came(usize::MAX);
        budget.came(usize::MAX);
        assert_eq!(budget.messages(), 1);
        assert_eq!(Budget::new(usize::MAX, 0).messages(), u16::MAX);
    }
}
