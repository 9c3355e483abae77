//! Which rows of a batch run together where their sequences differ in length.
//!
//! All rows of a run are as long as the longest of them, so short rows that run with a long one cost as much as it does;
//! and each run costs something whatever it has. A batch runs in parts, rows of like lengths together, such that all
//! parts take the least time by what runs have taken of late.

use std::time::Duration;

/// Bands of [`Pace`]: a run of 2ᵏ to 2ᵏ⁺¹ steps is in band k.
const BANDS: usize = 32;

/// The weight of a new run in its band is one part in this many.
const RUNS: f64 = 8.0;

/// A run that takes so many times as long as its band says was held up by something else.
const HELD_UP: f64 = 4.0;

/// What a run is taken to cost beside its steps, in steps, until it is known better.
const ASSUMED: f64 = 16.0;

/// Rows are put into so many groups at most before they are parted: the work grows with its square.
const GROUPS: usize = MOST;

/// The most parts of a batch.
pub(super) const MOST: usize = 32;

/// A band that has not run for so many runs is forgotten: what is thought to be slow is avoided, and would be for good.
const REMEMBERED: u64 = 256;

/// How long runs take by their steps (rows × the longest), as it was measured: a table, and no line through it.
#[derive(Debug)]
pub(super) struct Pace {
    /// Seconds a step of the bands that ran of late, and which run was the last.
    seen: [Option<(f64, u64)>; BANDS],
    runs: u64,
    /// The same of all: where none ran, what the nearest that did lets expect.
    rates: [f64; BANDS],
}

impl Default for Pace {
    fn default() -> Self {
        let mut pace = Pace {
            seen: [None; BANDS],
            runs: 0,
            rates: [0.0; BANDS],
        };
        pace.fill();
        pace
    }
}

impl Pace {
    /// A run of so many steps took so long.
    pub(super) fn record(&mut self, steps: usize, run: Duration) {
        let Some(band) = steps.checked_ilog2() else {
            return;
        };
        self.runs += 1;
        let last = self.runs;
        for seen in &mut self.seen {
            *seen = seen.filter(|(_, ran)| ran + REMEMBERED >= last);
        }
        // The first run of a band is held to what others let expect of it.
        let any = self.seen.iter().any(Option::is_some);
        let expected = self.rates.get(band as usize).filter(|_| any);
        let expected = expected.map_or(f64::INFINITY, |rate| rate * HELD_UP);
        let Some(seen) = self.seen.get_mut(band as usize) else {
            return;
        };
        let rate = run.as_secs_f64() / count(steps);
        let rate = match *seen {
            None => rate.min(expected),
            Some((before, _)) => before + (rate.min(before * HELD_UP) - before) / RUNS,
        };
        *seen = Some((rate, last));
        self.fill();
    }

    /// Seconds that a run of so many steps is likely to take; of no unit until some have run.
    fn likely(&self, steps: usize) -> f64 {
        // The middle of band k is at k + 1/2.
        let place = (count(steps.max(1)).log2() - 0.5).max(0.0);
        let below = place.floor();
        let rate = |band: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the logarithm of a count is small, and above nothing"
            )]
            let band = (band as usize).min(BANDS - 1);
            self.rates.get(band).copied().unwrap_or_default()
        };
        let part = place - below;
        count(steps) * (rate(below) * (1.0 - part) + rate(below + 1.0) * part)
    }

    fn fill(&mut self) {
        let assumed =
            |band: usize| 1.0 + ASSUMED / 1.5 / 2_f64.powi(i32::try_from(band).unwrap_or(0));
        let known: Vec<_> = self
            .seen
            .iter()
            .enumerate()
            .filter_map(|(k, seen)| Some((k, (*seen)?.0)))
            .collect();
        for (band, rate) in self.rates.iter_mut().enumerate() {
            let nearest = known.iter().min_by_key(|(k, _)| k.abs_diff(band));
            *rate = nearest.map_or(assumed(band), |(k, seen)| {
                seen * assumed(band) / assumed(*k)
            });
        }
    }

    /// How many rows each part has, where rows of these lengths, shortest first, run one part after the other.
    pub(super) fn parts(&self, lengths: &[usize]) -> Vec<usize> {
        let group = lengths.len().div_ceil(GROUPS).max(1);
        let ends: Vec<usize> = (1..=lengths.len().div_ceil(group))
            .map(|number| (number * group).min(lengths.len()))
            .collect();
        // For each group the least time to run all up to its end, and where the last part of that begins.
        let mut best: Vec<(f64, usize)> = Vec::with_capacity(ends.len());
        for (last, end) in ends.iter().enumerate() {
            let longest = lengths.get(end - 1).copied().unwrap_or(0);
            let from = |first: usize| {
                let (before, start) = match first.checked_sub(1) {
                    None => (0.0, 0),
                    Some(group) => (
                        best.get(group).map_or(f64::INFINITY, |(time, _)| *time),
                        ends.get(group).copied().unwrap_or(0),
                    ),
                };
                (before + self.likely((end - start) * longest), first)
            };
            let least = (0..=last).map(from).min_by(|(a, _), (b, _)| a.total_cmp(b));
            best.push(least.unwrap_or((0.0, last)));
        }
        let mut parts = Vec::new();
        let mut last = ends.len();
        while let Some((_, first)) = last.checked_sub(1).and_then(|group| best.get(group)) {
            let end = ends.get(last - 1).copied().unwrap_or(0);
            let start = first.checked_sub(1).and_then(|group| ends.get(group));
            parts.push(end - start.copied().unwrap_or(0));
            last = *first;
        }
        parts.reverse();
        parts
    }
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2⁵² steps")]
fn count(steps: usize) -> f64 {
    steps as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Runs cost what so many steps do, and their steps.
    fn pace(beside: f64) -> Pace {
        let mut pace = Pace::default();
        for band in 0..20 {
            let steps = (3 << band) / 2;
            pace.record(
                steps,
                Duration::from_secs_f64((beside + count(steps)) / 1e6),
            );
        }
        pace
    }

    #[test]
    fn rows_of_like_lengths_run_together_and_all_where_a_run_costs_more_than_padding() {
        let lengths = [8, 8, 8, 9, 120, 128];
        assert_eq!(pace(16.0).parts(&lengths), [4, 2]);
        assert_eq!(pace(10_000.0).parts(&lengths), [6]);
        assert_eq!(
            Pace::default().parts(&lengths),
            [4, 2],
            "before any has run"
        );
        assert_eq!(pace(16.0).parts(&[5]), [1]);
        assert!(pace(16.0).parts(&[]).is_empty());
    }

    #[test]
    fn a_run_that_was_held_up_says_little() {
        let mut held_up = pace(16.0);
        let before = held_up.likely(96);
        held_up.record(96, Duration::from_secs(10));
        assert!(held_up.likely(96) < before * 1.5);
    }

    #[test]
    fn a_band_that_is_avoided_is_tried_again_some_time() {
        let mut pace = pace(16.0);
        let before = pace.likely(3_072);
        for _ in 0..50 {
            pace.record(3_072, Duration::from_secs_f64(3_072.0 * 3.0 / 1e6));
        }
        assert!(pace.likely(3_072) > before * 2.0);
        for _ in 0..=REMEMBERED {
            pace.record(1_536, Duration::from_secs_f64(1_552.0 / 1e6));
        }
        assert!(pace.likely(3_072) < before * 1.5);
    }

    #[test]
    fn where_larger_runs_are_slower_by_the_step_rows_of_one_length_are_parted_too() {
        let mut pace = pace(16.0);
        for _ in 0..50 {
            pace.record(3_072, Duration::from_secs_f64(3_072.0 * 3.0 / 1e6));
        }
        let parts = pace.parts(&[64; 48]);
        assert!(parts.len() > 1, "{parts:?}");
        assert_eq!(parts.iter().sum::<usize>(), 48);
    }

    proptest! {
        #[test]
        fn parts_are_all_rows_and_take_no_longer_than_one_run(
            mut lengths in vec(1..500_usize, 1..700),
            beside in 1.0..1_000.0,
        ) {
            lengths.sort_unstable();
            let pace = pace(beside);
            let parts = pace.parts(&lengths);
            prop_assert_eq!(parts.iter().sum::<usize>(), lengths.len());
            prop_assert!(parts.iter().all(|rows| *rows > 0));
            let mut end = 0;
            let time: f64 = parts.iter().map(|rows| {
                end += rows;
                pace.likely(rows * lengths[end - 1])
            }).sum();
            let whole = pace.likely(lengths.len() * lengths[lengths.len() - 1]);
            prop_assert!(time <= whole * 1.000_001);
        }
    }
}
