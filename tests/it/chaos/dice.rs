//! One small generator (`SplitMix64`), so that a seed repeats a schedule.

/// Draws.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Dice of somebody else's own, whose draws do not move these.
    pub(super) fn fork(&self, number: u64) -> Dice {
        let mut dice = Dice(self.0 ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        Dice(dice.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// True once in so many times.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.between(1, times) == 1
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.between(0, last as u64) as usize);
        }
    }
}

#[test]
fn the_same_seed_draws_the_same_and_a_fork_draws_otherwise() {
    let draw = |mut dice: Dice| (0..8).map(|_| dice.between(0, 99)).collect::<Vec<_>>();
    assert_eq!(draw(Dice::new(7)), draw(Dice::new(7)));
    assert_ne!(draw(Dice::new(7)), draw(Dice::new(8)));
    assert_ne!(draw(Dice::new(7)), draw(Dice::new(7).fork(1)));
}
