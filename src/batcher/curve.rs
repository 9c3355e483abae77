//! The curve t(b): how long the device takes to run b rows, measured.
//!
//! Throughput b ÷ t(b) need not rise with b (a forest's falls past 64), so the best b is looked for among the sizes
//! that ran, never by a line through some of them. The ladder is 1, 2, 4, … and the largest size. It is climbed once,
//! each step after a run that warms it, and no further than the time allows. Then all steps are visited in shuffled
//! rounds, so that a machine that is slow for a while is slow for all of them, and the median counts.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, seq::SliceRandom};
use serde::{Deserialize, Serialize};

/// Most timed runs of a size.
const ROUNDS: usize = 9;

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
        match points.first() {
            Some(first) if rising && first.rows > 0 => Ok(Curve(points)),
            Some(_) | None => Err("expected sizes that rise from 1"),
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

    /// The smallest size with at least 95 % of the highest throughput.
    #[must_use]
    pub fn best(&self) -> Point {
        let each = self.0.iter();
        let highest = each.clone().map(|point| point.throughput());
        let enough = highest.fold(0.0, f64::max) * ENOUGH;
        let mut good = each.filter(|point| point.throughput() >= enough);
        let nothing = Point {
            rows: 1,
            run: Duration::ZERO,
        };
        good.next().copied().unwrap_or(nothing)
    }
}

/// Measures sizes up to `most` for about `budget`. `run` runs so many rows and says how long it took; a size that it
/// has no answer for ends the ladder.
///
/// `None` where not even one row runs.
pub fn measure(
    most: usize,
    budget: Duration,
    mut run: impl FnMut(usize) -> Option<Duration>,
    rng: &mut impl Rng,
) -> Option<Curve> {
    let mut runs: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
    let mut left = budget;
    for rows in ladder(most) {
        let last = runs
            .last_entry()
            .and_then(|last| last.get().last().copied());
        // Twice as many rows take at most about twice as long, and run twice.
        if last.is_some_and(|last| last * 4 > left) {
            break;
        }
        let (Some(warming), Some(first)) = (run(rows), run(rows)) else {
            break;
        };
        left = left.saturating_sub(warming + first);
        runs.insert(rows, vec![first]);
    }
    'rounds: for _ in 1..ROUNDS {
        let mut round: Vec<_> = runs.iter_mut().collect();
        round.shuffle(rng);
        for (rows, times) in round {
            if times.last().is_some_and(|last| *last > left) {
                break 'rounds;
            }
            let Some(time) = run(*rows) else {
                break 'rounds;
            };
            left = left.saturating_sub(time);
            times.push(time);
        }
    }
    let points = runs.into_iter().map(|(rows, mut times)| {
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied();
        Point {
            rows,
            run: median.unwrap_or_default(),
        }
    });
    Curve::try_from(points.collect::<Vec<_>>()).ok()
}

/// The most runs that measuring up to `most` rows takes: one to warm each size, and those that are timed.
#[must_use]
pub fn most_runs(most: usize) -> usize {
    ladder(most).count() * (1 + ROUNDS)
}

/// 1, 2, 4, … and `most`.
fn ladder(most: usize) -> impl Iterator<Item = usize> {
    let doubling = std::iter::successors(Some(1_usize), |rows| rows.checked_mul(2));
    doubling
        .take_while(move |rows| *rows < most)
        .chain([most.max(1)])
}

#[cfg(test)]
#[path = "tests/curve.rs"]
mod tests;
