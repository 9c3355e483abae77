//! The curve t(b): how long the device takes to run b rows, measured.
//!
//! Throughput b ÷ t(b) need not rise with b (a forest's falls past 64), so the best b is looked for among the sizes
//! that ran, never by a line through some of them. The [`ladder`] is climbed once, each step after a run that warms
//! it, and no further than the time allows. Then all steps are visited in shuffled rounds, so that a machine that is
//! slow for a while is slow for all of them, and the median counts.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, seq::SliceRandom};
use serde::{Deserialize, Serialize};

/// Most timed runs of a size.
const ROUNDS: usize = 9;

/// Fewer timed runs say nothing.
const FEW: usize = 3;

/// A larger batch must be worth more than this part of the highest throughput; its rows wait longer.
const ENOUGH: f64 = 0.95;

/// One size of a [`Curve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// b, the rows that ran together; at least 1.
    pub rows: usize,
    /// t(b), the median.
    pub run: Duration,
}

impl Point {
    /// Rows a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "no batch has 2⁵² rows")]
    pub fn throughput(self) -> f64 {
        self.rows as f64 / self.run.max(Duration::from_nanos(1)).as_secs_f64()
    }
}

/// t(b) at the sizes that were measured, smallest first; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Point>", into = "Vec<Point>")]
pub struct Curve(Vec<Point>);

impl TryFrom<Vec<Point>> for Curve {
    type Error = &'static str;

    fn try_from(points: Vec<Point>) -> Result<Self, Self::Error> {
        let rising = points.is_sorted_by(|a, b| a.rows < b.rows);
        let timed = points.iter().all(|point| point.run > Duration::ZERO);
        match points.first() {
            Some(first) if rising && timed && first.rows == 1 => Ok(Curve(points)),
            Some(_) | None => {
                Err("expected sizes that rise from 1, each with a time above nothing")
            }
        }
    }
}

impl From<Curve> for Vec<Point> {
    fn from(curve: Curve) -> Self {
        curve.0
    }
}

impl Curve {
    /// The measured sizes, smallest first.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.0
    }

    /// Rows a second of batches of so many, or of the next smaller size that is known.
    #[must_use]
    pub fn throughput(&self, rows: usize) -> f64 {
        let mut known = self.0.iter().rev().filter(|point| point.rows <= rows);
        known.next().map_or(0.0, |point| point.throughput())
    }

    /// The largest measured size.
    pub(super) fn most(&self) -> usize {
        self.0.last().map_or(1, |last| last.rows)
    }

    /// The smallest size with at least 95 % of the highest throughput.
    #[must_use]
    pub fn best(&self) -> Point {
        self.best_within(Duration::MAX)
    }

    /// The same, of the sizes that ran within `limit`; the smallest of all where none did.
    #[must_use]
    pub fn best_within(&self, limit: Duration) -> Point {
        let within = self.0.iter().filter(|point| point.run <= limit);
        let highest = within.clone().map(|point| point.throughput());
        let enough = highest.fold(0.0, f64::max) * ENOUGH;
        let mut good = within.filter(|point| point.throughput() >= enough);
        let nothing = Point {
            rows: 1,
            run: Duration::ZERO,
        };
        let best = good.next().or(self.0.first());
        best.copied().unwrap_or(nothing)
    }
}

/// One try of a size.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// t(b), of one batch.
    pub batch: Duration,
    /// How long the try took in all.
    pub spent: Duration,
}

/// What came of measuring.
#[derive(Debug)]
pub enum Measured<E> {
    /// Every size that can be had.
    Whole(Curve),
    /// A size failed; the smaller ones, if there are any and all have run often enough.
    Failed(usize, E, Option<Curve>),
    /// The time was up before every size had run often enough; those that ran at all.
    Short(Option<Curve>),
}

/// Measures these sizes, from the smallest on, for about `budget`: what runs is not cut off, and the smallest runs
/// twice in any case. `run` runs so many rows.
pub fn measure<E>(
    sizes: &[usize],
    budget: Duration,
    mut run: impl FnMut(usize) -> Result<Run, E>,
    rng: &mut impl Rng,
) -> Measured<E> {
    let mut runs: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
    let mut failed = None;
    let (mut left, mut last) = (budget, Duration::ZERO);
    for rows in sizes {
        // Twice as many rows take at most about twice as long, and run twice.
        if last * 4 > left {
            return Measured::Short(of(runs));
        }
        let timed = run(*rows).and_then(|warming| Ok((warming, run(*rows)?)));
        match timed {
            Ok((warming, timed)) => {
                left = left.saturating_sub(warming.spent + timed.spent);
                last = timed.spent;
                runs.insert(*rows, vec![timed.batch]);
            }
            Err(fault) => {
                failed = Some((*rows, fault));
                break;
            }
        }
    }
    'rounds: for _ in 1..ROUNDS {
        let mut round: Vec<usize> = runs.keys().copied().collect();
        round.shuffle(rng);
        for rows in round {
            let Some(times) = runs.get_mut(&rows) else {
                continue;
            };
            if left.is_zero() {
                break 'rounds;
            }
            match run(rows) {
                Ok(Run { batch, spent }) => {
                    left = left.saturating_sub(spent);
                    times.push(batch);
                }
                // It cannot be had after all, and nor can what is larger.
                Err(fault) => {
                    runs.split_off(&rows);
                    failed = Some((rows, fault));
                }
            }
        }
    }
    let enough = runs.values().all(|times| times.len() >= FEW);
    match (of(runs), failed) {
        (curve, Some((rows, fault))) => Measured::Failed(rows, fault, curve.filter(|_| enough)),
        (Some(curve), None) if enough => Measured::Whole(curve),
        (curve, None) => Measured::Short(curve),
    }
}

/// What ran, if anything did.
fn of(runs: BTreeMap<usize, Vec<Duration>>) -> Option<Curve> {
    let points = runs.into_iter().map(|(rows, times)| Point {
        rows,
        run: median(times),
    });
    Curve::try_from(points.collect::<Vec<_>>()).ok()
}

/// Of an even number the lower of the two in the middle: what disturbs a run never makes it shorter.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let middle = times.len().saturating_sub(1) / 2;
    times.get(middle).copied().unwrap_or_default()
}

/// The most tries that measuring these sizes takes: one to warm each, and those that are timed.
#[must_use]
pub fn most_tries(sizes: &[usize]) -> usize {
    sizes.len() * (1 + ROUNDS)
}

/// 1, 2, 4, … and `most`; and the full runs of a model that always runs `width` rows.
#[must_use]
pub fn ladder(most: usize, width: Option<usize>) -> Vec<usize> {
    let doubling = |first: usize| {
        let each = std::iter::successors(Some(first.max(1)), |rows| rows.checked_mul(2));
        each.take_while(move |rows| *rows < most)
    };
    let wide = width.into_iter().flat_map(doubling);
    let mut sizes: Vec<_> = doubling(1).chain(wide).chain([most.max(1)]).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[cfg(test)]
#[path = "tests/curve.rs"]
mod tests;
