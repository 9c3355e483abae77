//! How long a batch of so many rows is likely to run, from those that ran.

use std::time::Duration;

use super::curve::Curve;

/// Running averages of the run time, by batch size to the next power of two.
#[derive(Debug, Default)]
pub(super) struct Appetite {
    averages: [Option<Duration>; BUCKETS],
}

/// The last one holds every batch of more than 2¹⁵ rows.
const BUCKETS: usize = 17;

/// The weight of a new observation is one part in this many.
const MEMORY: u32 = 8;

impl Appetite {
    /// What was measured, until something runs.
    pub(super) fn of(curve: &Curve) -> Self {
        let mut appetite = Appetite::default();
        for point in curve.points() {
            appetite.record(point.rows, point.run);
        }
        appetite
    }

    /// Takes note of a run.
    pub(super) fn record(&mut self, rows: usize, run: Duration) {
        if let Some(average) = self.averages.get_mut(bucket(rows)) {
            let before = average.unwrap_or(run);
            *average = Some(before / MEMORY * (MEMORY - 1) + run / MEMORY);
        }
    }

    /// The likely run time: of batches of this size, else of the next larger ones that ran, else of the
    /// next smaller ones; nil before anything has run.
    pub(super) fn predict(&self, rows: usize) -> Duration {
        let (smaller, others) = self.averages.split_at(bucket(rows));
        let mut nearest = others.iter().chain(smaller.iter().rev()).flatten();
        nearest.next().copied().unwrap_or_default()
    }
}

fn bucket(rows: usize) -> usize {
    let exponent = rows.max(1).next_power_of_two().trailing_zeros();
    usize::try_from(exponent).map_or(BUCKETS - 1, |exponent| exponent.min(BUCKETS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batcher::curve::Point;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_size_that_never_ran_is_predicted_by_its_nearest_neighbour() {
        let mut appetite = Appetite::default();
        assert_eq!(appetite.predict(5), Duration::ZERO);
        appetite.record(1, MS);
        appetite.record(64, 8 * MS);
        assert_eq!(appetite.predict(1), MS);
        assert_eq!(appetite.predict(5), 8 * MS);
        assert_eq!(appetite.predict(64), 8 * MS);
        assert_eq!(appetite.predict(1_000_000), 8 * MS);
    }

    #[test]
    fn what_was_measured_is_predicted_before_anything_ran() {
        let points = [(1, MS), (8, 2 * MS), (12, 3 * MS)];
        let points = points.map(|(rows, run)| Point { rows, run });
        let appetite = Appetite::of(&Curve::try_from(points.to_vec()).unwrap());
        assert_eq!(appetite.predict(1), MS);
        assert_eq!(appetite.predict(3), 2 * MS);
        assert_eq!(appetite.predict(12), 3 * MS);
    }

    #[test]
    fn the_average_follows_what_it_sees() {
        let mut appetite = Appetite::default();
        appetite.record(8, 80 * MS);
        for _ in 0..50 {
            appetite.record(8, 8 * MS);
        }
        assert!(appetite.predict(8) < 9 * MS);
    }
}
