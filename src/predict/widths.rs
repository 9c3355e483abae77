//! How many rows runs have, on a device that takes long to get used to another number.
//!
//! ONNX Runtime's CUDA provider sets every convolution up anew when the shape of its input changes, also to one that it
//! has had before: 350 ms for a ResNet-50 whose 64 rows run in 6 (1.31.1, an H200). So a run has as many rows as the one
//! before, the last row again and again where there are fewer, several runs where there are more; until another number
//! would have spared as much as the change costs.

use std::{collections::BTreeMap, time::Duration};

use super::parts;

/// The weight of a new time is one part in this many.
const TIMES: f64 = 8.0;

/// A change that costs less is no reason to run other rows than there are, in seconds.
const LITTLE: f64 = 0.005;

/// What runs of each number of rows take, and what a change costs.
#[derive(Debug, Default)]
pub(super) struct Widths {
    /// Rows of the last run.
    last: usize,
    /// Of a change, in seconds; nothing is known before one to a number that has run twice in a row.
    change: Option<f64>,
    seen: BTreeMap<usize, Seen>,
    /// Whether rows run as they are, whatever it costs.
    exact: bool,
}

#[derive(Debug, Default)]
struct Seen {
    /// Seconds to launch a run behind one of as many rows.
    launch: Option<f64>,
    /// Seconds that the device takes for it.
    run: Option<f64>,
    /// What it would have spared since the last change.
    spared: f64,
}

impl Widths {
    /// From now on no row is run with others that nobody asked for, not even itself.
    pub(super) fn never_pad(&mut self) {
        self.exact = true;
    }

    /// Rows of the runs that so many rows are best run in, of which there is room for `most`.
    pub(super) fn plan(&mut self, rows: usize, most: usize) -> usize {
        let Some(change) = self.change.filter(|cost| *cost > LITTLE && !self.exact) else {
            return rows;
        };
        let time = |width: usize, seen: &Seen| {
            let runs = rows.div_ceil(width);
            let fits = runs <= parts::MOST && runs.saturating_mul(width) <= most;
            let run = seen.run?.max(seen.launch.unwrap_or(0.0));
            fits.then_some(run * count(runs))
        };
        let last = self.last;
        let stay = self.seen.get(&last).and_then(|seen| time(last, seen));
        let mut next: Option<(f64, usize)> = None;
        for (width, seen) in &mut self.seen {
            let Some(time) = time(*width, seen) else {
                continue;
            };
            let Some(stay) = stay else {
                // It has to change: to the fastest.
                next = next
                    .filter(|(least, _)| *least <= time)
                    .or(Some((time, *width)));
                continue;
            };
            seen.spared = (seen.spared + stay - time).max(0.0);
            if seen.spared >= change && next.is_none_or(|(most, _)| most < seen.spared) {
                next = Some((seen.spared, *width));
            }
        }
        match next {
            Some((_, width)) => width,
            None if stay.is_some() => last,
            None => rows,
        }
    }

    /// A run of so many rows was launched, which took so long; whether the one before had as many.
    pub(super) fn launched(&mut self, width: usize, most: usize, took: Duration) -> bool {
        let (took, changed) = (took.as_secs_f64(), self.last != width);
        self.last = width;
        if changed {
            self.seen.values_mut().for_each(|seen| seen.spared = 0.0);
        }
        // Only those of the ladder: others hardly come again.
        if width == 0 || !width.is_power_of_two() && width != most {
            return !changed;
        }
        let seen = self.seen.entry(width).or_default();
        match seen.launch {
            Some(usual) if changed => mix(&mut self.change, (took - usual).max(0.0)),
            None if changed => {}
            Some(_) | None => mix(&mut seen.launch, took),
        }
        !changed
    }

    /// The device took so long for a run of so many rows.
    pub(super) fn ran(&mut self, width: usize, took: Duration) {
        if let Some(seen) = self.seen.get_mut(&width) {
            mix(&mut seen.run, took.as_secs_f64());
        }
    }
}

fn mix(average: &mut Option<f64>, new: f64) {
    *average = Some(average.map_or(new, |old| old + (new - old) / TIMES));
}

#[expect(clippy::cast_precision_loss, reason = "no batch has 2⁵² rows")]
fn count(rows: usize) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const MOST: usize = 64;

    /// A device whose runs take a constant and their rows, and a change of their number.
    struct Device {
        widths: Widths,
        change: f64,
        last: usize,
        spent: f64,
    }

    fn run_of(width: usize) -> f64 {
        0.001 + count(width) / 10_000.0
    }

    impl Device {
        fn new(change: f64) -> Device {
            let mut device = Device {
                widths: Widths::default(),
                change,
                last: 0,
                spent: 0.0,
            };
            for width in [1, 2, 4, 8, 16, 32, 64, 1] {
                device.run(width);
                device.run(width);
            }
            device.spent = 0.0;
            device
        }

        fn run(&mut self, width: usize) {
            let mut launch = 0.000_5;
            if self.last != width {
                launch += self.change;
            }
            self.last = width;
            self.spent += launch + run_of(width);
            let launch = Duration::from_secs_f64(launch);
            if self.widths.launched(width, MOST, launch) {
                self.widths
                    .ran(width, Duration::from_secs_f64(run_of(width)));
            }
        }

        fn batch(&mut self, rows: usize) -> usize {
            let width = self.widths.plan(rows, MOST);
            assert!(width > 0 && rows.div_ceil(width) * width <= MOST.max(rows));
            for _ in 0..rows.div_ceil(width) {
                self.run(width);
            }
            width
        }
    }

    #[test]
    fn where_changes_are_cheap_rows_run_as_they_are() {
        let mut device = Device::new(0.001);
        for rows in [1, 64, 3, 52, 52, 1] {
            assert_eq!(device.batch(rows), rows);
        }
    }

    #[test]
    fn where_changes_are_dear_the_number_changes_when_it_pays() {
        let mut device = Device::new(0.3);
        device.run(8);
        let batches = (0..1_000).take_while(|_| device.batch(64) != 64).count();
        assert!((10..100).contains(&batches), "{batches}");
        for rows in [1, 64, 3, 52, 64, 1, 64] {
            assert_eq!(device.batch(rows), 64, "it does not go to and fro");
        }
        let lone = (0..1_000).take_while(|_| device.batch(1) == 64).count();
        assert!((10..200).contains(&lone), "{lone}");
        assert_eq!(device.batch(1), 1);
    }

    #[test]
    fn a_model_that_minds_company_has_none() {
        let mut device = Device::new(0.3);
        device.widths.never_pad();
        for rows in [1, 64, 3, 52, 1] {
            assert_eq!(device.batch(rows), rows);
        }
    }

    proptest! {
        #[test]
        fn it_takes_hardly_more_than_twice_as_long_as_the_best_number_of_all(
            batches in vec(1..=MOST, 1..400),
            change in 0.006..1.0,
        ) {
            let mut device = Device::new(change);
            for rows in &batches {
                device.batch(*rows);
            }
            let all = |width: usize| {
                let runs = batches.iter().map(|rows| rows.div_ceil(width));
                count(runs.sum()) * (0.000_5 + run_of(width)) + change
            };
            let best = [1, 2, 4, 8, 16, 32, 64].into_iter().map(all).fold(f64::INFINITY, f64::min);
            prop_assert!(device.spent <= 4.0 * best + 4.0 * change, "{} {best}", device.spent);
        }
    }
}
