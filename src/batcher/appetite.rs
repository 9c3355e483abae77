//! How long a batch of so many rows is likely to run, and hardly ever longer, from those that ran.

use std::{cell::RefCell, time::Duration};

use super::{BatchObservation, curve::Point, run_time::RunTime};

/// What is known of run times, by batch size to the next power of two; between two of those, on the line that joins
/// them, and above all of them in proportion to the rows.
#[derive(Debug, Default)]
pub(super) struct Appetite {
    sizes: [Option<Times>; BUCKETS],
    /// Runs that were taken note of.
    noted: u64,
    /// How long answers are on their way once a run is over: a batch is not done before.
    trail: Duration,
    /// By rows, what was worked out, and at which note: every request asks for a few sizes, and batches change them.
    memo: RefCell<Vec<(u64, Times)>>,
}

/// No batch is larger by the manifest's schema, and one row more is asked for.
const MEMO: usize = 4_097;

/// Running averages over batches of similar size.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    rows: f64,
    /// Seconds.
    run: f64,
    /// Seconds that a run is from the average.
    deviation: f64,
    /// Which of all that were noted was the last.
    noted: u64,
}

/// The last one holds every batch of more than 2¹⁵ rows.
const BUCKETS: usize = 17;

/// The weight of a new observation is one part in this many.
const MEMORY: f64 = 8.0;

/// So many deviations above the average is hardly ever exceeded: as in TCP's retransmission timer (RFC 6298). With three,
/// more are in time at nine tenths of what a device can do, but under overload more of those that run are late.
const FAR: f64 = 4.0;

/// A run that takes more than this many averages counts as if it took so many: one stall is not how long runs take.
const OUTLIER: f64 = 4.0;

/// What was noted so many runs earlier is of another time: the machine may have become slower since, or faster.
const OF_LATE: u64 = 64;

/// Some models take longer for more rows at once than for fewer one after another, but hardly this many times.
const SLACK: f64 = 2.0;

impl Appetite {
    /// What was measured, until something runs.
    pub(super) fn of(points: impl IntoIterator<Item = Point>) -> Self {
        let mut appetite = Appetite::default();
        for point in points {
            appetite.record(point.rows, point.run);
        }
        appetite
    }

    /// Takes note of a run that went well, and of how long answers are on their way back.
    pub(super) fn observe(&mut self, observed: &BatchObservation, trail: Duration) {
        self.trail = trail;
        // Where sequences differ in length, so do the times of as many rows, and none of them is wrong.
        self.note(observed.rows, observed.run, observed.steps.padded > 0);
    }

    /// The same, of rows that all take the same.
    pub(super) fn record(&mut self, rows: usize, run: Duration) {
        self.note(rows, run, false);
    }

    fn note(&mut self, rows: usize, run: Duration, varies: bool) {
        let Some(times) = self.sizes.get_mut(bucket(rows)) else {
            return;
        };
        self.noted += 1;
        let (rows, run, noted) = (size(rows), run.as_secs_f64(), self.noted);
        let first = Times {
            rows,
            run,
            deviation: run / MEMORY,
            noted,
        };
        let outlier = if varies { OUTLIER * OUTLIER } else { OUTLIER };
        // What is thought to take far longer than it does is hardly run: the first that is has to correct it.
        let Some(before) = times.filter(|before| before.run < run * outlier) else {
            *times = Some(first);
            return;
        };
        let run = run.min(before.run * outlier);
        let mixed = |old: f64, new: f64| old + (new - old) / MEMORY;
        *times = Some(Times {
            rows: mixed(before.rows, rows),
            run: mixed(before.run, run),
            deviation: mixed(before.deviation, (run - before.run).abs()),
            noted,
        });
    }

    /// Rows that run in so much time, one batch of so many after another; no end of them before anything has run.
    pub(super) fn rows_in(&self, time: Duration, rows: usize) -> usize {
        let run = self.likely(rows).as_nanos();
        let done = (time.as_nanos() * rows as u128).checked_div(run);
        done.map_or(usize::MAX, |done| {
            usize::try_from(done).unwrap_or(usize::MAX)
        })
    }

    fn times(&self, rows: usize) -> Times {
        if rows > MEMO {
            return self.work_out(rows);
        }
        let mut memo = self.memo.borrow_mut();
        if memo.len() <= rows {
            memo.resize(rows + 1, (0, Times::default()));
        }
        let Some((noted, times)) = memo.get_mut(rows) else {
            return self.work_out(rows);
        };
        if *noted != self.noted {
            (*noted, *times) = (self.noted, self.work_out(rows));
        }
        *times
    }

    /// Nil before anything has run. No size is thought to run longer than a larger one that ran, nor longer than
    /// [`SLACK`] times as long as so many rows in batches of a smaller size. So sizes of which what is known is wrong
    /// are run, and it is corrected. But what is known of other sizes since long before this one ran says nothing
    /// against that.
    fn work_out(&self, rows: usize) -> Times {
        let own = self.sizes.get(bucket(rows)).copied().flatten();
        let ran = own.map_or(0, |own| own.noted);
        let rows = size(rows);
        let known = || {
            let known = self.sizes.iter().flatten();
            known.filter(move |times| times.noted + OF_LATE > ran)
        };
        let larger = known().filter(|times| times.rows >= rows);
        let smaller = known().filter(|times| times.rows < rows);
        let smaller = smaller.map(|times| times.of(rows, (rows / times.rows).ceil() * SLACK));
        let bounds = larger.copied().chain(smaller);
        let bounds = bounds.chain([self.between(rows)]);
        let least = bounds.min_by(|a, b| a.run.total_cmp(&b.run));
        least.unwrap_or_default()
    }

    /// How long a run hardly ever takes more than.
    fn slow(&self, rows: usize) -> Duration {
        let times = self.times(rows);
        Duration::from_secs_f64(times.run + times.deviation * FAR)
    }

    fn between(&self, rows: f64) -> Times {
        let known = || self.sizes.iter().flatten();
        let smaller = known().rfind(|times| times.rows <= rows);
        let larger = known().find(|times| times.rows >= rows);
        match (smaller, larger) {
            (Some(a), Some(b)) if a.rows < b.rows => {
                let part = (rows - a.rows) / (b.rows - a.rows);
                let between = |a: f64, b: f64| a + (b - a) * part;
                Times {
                    rows,
                    run: between(a.run, b.run),
                    deviation: between(a.deviation, b.deviation),
                    noted: a.noted.max(b.noted),
                }
            }
            (Some(nearest), None) => nearest.of(rows, rows / nearest.rows),
            (Some(nearest), Some(_)) | (None, Some(nearest)) => *nearest,
            (None, None) => Times::default(),
        }
    }
}

impl Times {
    /// What is thought of so many rows that take `times` as long.
    fn of(self, rows: f64, times: f64) -> Times {
        Times {
            rows,
            run: self.run * times,
            deviation: self.deviation * times,
            noted: self.noted,
        }
    }
}

impl RunTime for Appetite {
    fn likely(&self, rows: usize) -> Duration {
        Duration::from_secs_f64(self.times(rows).run)
    }

    fn longest(&self, rows: usize) -> Duration {
        self.slow(rows) + self.trail(rows)
    }

    /// Whoever asks may have an answer before the broker says so: the way never counts for more than the run.
    fn trail(&self, rows: usize) -> Duration {
        self.trail.min(self.slow(rows))
    }
}

#[expect(clippy::cast_precision_loss, reason = "no batch has 2⁵² rows")]
pub(super) fn size(rows: usize) -> f64 {
    rows as f64
}

fn bucket(rows: usize) -> usize {
    let exponent = rows.max(1).next_power_of_two().trailing_zeros();
    usize::try_from(exponent).map_or(BUCKETS - 1, |exponent| exponent.min(BUCKETS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Steps;

    const MS: Duration = Duration::from_millis(1);

    fn ran(rows: usize, run: Duration) -> BatchObservation {
        let steps = Steps::default();
        BatchObservation { rows, run, steps }
    }

    #[test]
    fn a_size_that_never_ran_is_predicted_by_its_neighbours() {
        let mut appetite = Appetite::default();
        assert_eq!(appetite.likely(5), Duration::ZERO);
        appetite.record(1, MS);
        appetite.record(64, 8 * MS);
        assert_eq!(appetite.likely(1), MS);
        assert!(appetite.likely(5).abs_diff(MS * 13 / 9) < MS / 1_000);
        assert_eq!(appetite.likely(64), 8 * MS);
        assert_eq!(
            appetite.likely(128),
            16 * MS,
            "nothing says that it is free"
        );
        assert_eq!(appetite.likely(64_000), 8_000 * MS);
        assert_eq!(appetite.longest(128), appetite.longest(64) * 2);
    }

    #[test]
    fn what_was_measured_is_predicted_before_anything_ran() {
        let points = [(1, MS), (8, 2 * MS), (12, 3 * MS)];
        let points = points.map(|(rows, run)| Point { rows, run });
        let appetite = Appetite::of(points);
        assert_eq!(appetite.likely(1), MS);
        assert!(appetite.likely(3).abs_diff(MS * 9 / 7) < MS / 1_000);
        assert_eq!(appetite.likely(12), 3 * MS);
    }

    #[test]
    fn the_average_follows_what_it_sees() {
        let mut appetite = Appetite::default();
        appetite.record(8, 80 * MS);
        for _ in 0..50 {
            appetite.record(8, 8 * MS);
        }
        assert!(appetite.likely(8) < 9 * MS);
        assert!(appetite.longest(8) < 11 * MS, "nor does it forget slowly");
        for run in [6, 10].into_iter().cycle().take(50) {
            appetite.record(8, run * MS);
        }
        let (likely, longest) = (appetite.likely(8), appetite.longest(8));
        assert!(
            likely < 9 * MS && longest > 12 * MS,
            "{likely:?} {longest:?}"
        );
    }

    #[test]
    fn a_stall_counts_little_and_no_size_takes_longer_than_a_larger_one() {
        let mut appetite = Appetite::default();
        for _ in 0..50 {
            appetite.record(1, 5 * MS);
        }
        appetite.record(1, 10_000 * MS);
        assert!(appetite.longest(1) < 30 * MS, "{:?}", appetite.longest(1));
        for _ in 0..50 {
            appetite.record(1, 500 * MS);
            appetite.record(8, 6 * MS);
        }
        assert!(appetite.likely(1) <= appetite.likely(8));
        assert!(appetite.longest(4) < 10 * MS);
        // What was thought to take far too long is corrected by few runs.
        let mut wrong = Appetite::default();
        wrong.record(8, 1_000 * MS);
        for _ in 0..8 {
            wrong.record(8, 6 * MS);
        }
        assert!(wrong.longest(8) < 100 * MS, "{:?}", wrong.longest(8));
    }

    #[test]
    fn where_runs_have_become_slow_what_other_sizes_took_before_says_nothing() {
        let mut appetite = Appetite::default();
        for (rows, run) in [(1, MS), (8, 4 * MS), (16, 7 * MS), (64, 26 * MS)] {
            appetite.record(rows, run);
        }
        for run in [35, 35, 35, 75].into_iter().cycle().take(200) {
            appetite.record(32, run * MS);
        }
        let (likely, longest) = (appetite.likely(32), appetite.longest(32));
        assert!(
            likely > 40 * MS && longest > 75 * MS,
            "{likely:?} {longest:?}"
        );
        // But of sizes that do not run any more, nothing better is known.
        assert!(appetite.likely(8) <= 5 * MS);
    }

    #[test]
    fn a_batch_is_not_done_before_its_answers_are_where_they_are_wanted() {
        let alone = |trail| {
            let mut appetite = Appetite::default();
            appetite.observe(&ran(8, 8 * MS), trail);
            assert_eq!(appetite.likely(8), 8 * MS, "the device is free before");
            appetite.longest(8)
        };
        let run = alone(Duration::ZERO);
        assert_eq!(alone(3 * MS), run + 3 * MS);
        assert_eq!(alone(300 * MS), run * 2, "but not for more than the run");
    }

    #[test]
    fn a_short_sequence_is_not_how_long_the_next_one_takes() {
        let mut appetite = Appetite::default();
        for run in [1, 16].into_iter().cycle().take(101) {
            appetite.observe(
                &BatchObservation {
                    rows: 1,
                    run: run * MS,
                    steps: Steps { real: 1, padded: 1 },
                },
                Duration::ZERO,
            );
        }
        let (likely, longest) = (appetite.likely(1), appetite.longest(1));
        assert!(likely > 5 * MS && likely < 12 * MS, "{likely:?}");
        assert!(longest > 16 * MS, "{longest:?}");
    }
}
