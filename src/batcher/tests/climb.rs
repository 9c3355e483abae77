//! The best b on simulated devices, under loads that leave rows waiting.
#![expect(clippy::cast_precision_loss, reason = "no count here has 2⁵²")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    batcher::{appetite::Appetite, curve::ladder},
    tensor::Steps,
};

const MOST: usize = 512;

/// Nothing here takes as long.
const AGES: Duration = Duration::from_secs(1 << 20);

/// t(b) of a device whose runs take a constant and their rows, in seconds.
fn line(base: f64, each: f64) -> impl Fn(usize) -> f64 + Clone {
    move |rows| base + each * rows as f64
}

/// A forest of a hundred trees on one core: as measured, and past 64 it falls.
fn forest(rows: usize) -> f64 {
    let throughput = match rows {
        0..=1 => 70.0,
        2..=7 => 180.0,
        8..=15 => 300.0,
        16..=31 => 340.0,
        32..=63 => 376.0,
        64 => 372.0,
        65..=128 => 330.0,
        _ => 272.0,
    };
    rows as f64 / throughput / 1_000.0
}

/// A device, and what ran on it.
struct Bench<T> {
    climb: Climb,
    appetite: Appetite,
    time: T,
    noise: f64,
    rng: StdRng,
    ran: BTreeSet<usize>,
    /// Seconds, of all and of trials.
    spent: (f64, f64),
    changes: usize,
}

impl<T: Fn(usize) -> f64> Bench<T> {
    fn new(climb: Climb, time: T, noise: f64, seed: u64) -> Self {
        Bench {
            ran: [climb.best()].into(),
            appetite: Appetite::of(climb.measured()),
            climb,
            time,
            noise,
            rng: StdRng::seed_from_u64(seed),
            spent: (0.0, 0.0),
            changes: 0,
        }
    }

    /// A run, while so many rows wait.
    fn run(&mut self, waiting: usize) {
        let best = self.climb.best();
        let trial = self.climb.trial(waiting, &self.appetite, |_| true);
        let rows = trial.unwrap_or(best.min(waiting));
        let noise = self.rng.random_range(-self.noise..=self.noise);
        let run = (self.time)(rows) * (1.0 + noise);
        self.spent.0 += run;
        if let Some(rows) = trial {
            assert!(rows <= waiting && rows != best);
            let below = ladder(MOST, None).into_iter().rfind(|size| *size < rows);
            let above = ladder(MOST, None).into_iter().find(|size| *size > rows);
            let known = [below, Some(rows), above].into_iter().flatten();
            let mut known = known.filter(|rows| self.ran.contains(rows));
            assert!(known.next().is_some(), "{rows} is far from {:?}", self.ran);
            self.spent.1 += run;
        }
        let observed = observed(rows, run);
        self.ran.insert(rows);
        self.appetite.record(rows, observed.run);
        self.climb.ran(&observed);
        self.changes += usize::from(self.climb.best() != best);
    }

    fn backlog(&mut self, runs: usize) {
        (0..runs).for_each(|_| self.run(10 * MOST));
    }

    fn throughput(&self, rows: usize) -> f64 {
        rows as f64 / (self.time)(rows)
    }

    /// Of the best b, as a part of the highest.
    fn part(&self) -> f64 {
        let all = ladder(MOST, None).into_iter();
        let highest = all.map(|rows| self.throughput(rows)).fold(0.0, f64::max);
        self.throughput(self.climb.best()) / highest
    }
}

fn observed(rows: usize, run: f64) -> BatchObservation {
    let (run, steps) = (Duration::from_secs_f64(run), Steps::default());
    BatchObservation { rows, run, steps }
}

fn starting(best: usize) -> Climb {
    Climb::new(&ladder(MOST, None), best, None).refreshed(AGES, true)
}

fn measured(time: impl Fn(usize) -> f64) -> Curve {
    let points = ladder(MOST, None).into_iter().map(|rows| Point {
        rows,
        run: Duration::from_secs_f64(time(rows)),
    });
    Curve::try_from(points.collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_size_that_was_measured_wrong_is_mended_whether_it_is_too_small_or_too_large() {
    let knee = line(0.000_9, 0.000_1);
    for (start, seed) in [(1, 1), (2, 2), (512, 3)] {
        let mut bench = Bench::new(starting(start), knee.clone(), 0.05, seed);
        bench.backlog(60_000);
        let (best, part) = (bench.climb.best(), bench.part());
        eprintln!(
            "line from {start}: {best}, {part:.3}, {} changes",
            bench.changes
        );
        assert!((64..=256).contains(&best) && part > 0.93, "{best} {part}");

        let mut bench = Bench::new(starting(start), forest, 0.05, seed);
        bench.backlog(60_000);
        let (best, part) = (bench.climb.best(), bench.part());
        eprintln!(
            "forest from {start}: {best}, {part:.3}, {} changes",
            bench.changes
        );
        assert!((16..=64).contains(&best) && part > 0.93, "{best} {part}");
    }
}

#[test]
fn a_wrong_curve_is_refreshed_and_says_what_live_batches_took() {
    // All sizes were thought to be ten times as slow, and small ones good.
    let knee = line(0.000_9, 0.000_1);
    let wrong = measured(|rows| 0.001 * rows as f64);
    assert_eq!(wrong.best().rows, 1);
    let climb = Climb::new(&ladder(MOST, None), 1, Some(&wrong)).refreshed(AGES, true);
    assert_eq!(climb.curve(), None, "nothing is learnt yet");
    let mut bench = Bench::new(climb, &knee, 0.05, 4);
    bench.backlog(60_000);
    let best = bench.climb.best();
    let curve = bench.climb.curve().unwrap();
    assert_eq!(curve.points().len(), 10);
    for point in curve.points() {
        let live = bench.ran.contains(&point.rows);
        let right = if live {
            knee(point.rows)
        } else {
            0.001 * point.rows as f64
        };
        let found = point.run.as_secs_f64() / right;
        assert!((0.9..1.1).contains(&found), "{point:?} {found}");
        assert!(live || point.rows > 2 * best);
    }
}

#[test]
fn a_short_ladder_is_climbed_to_its_end_and_is_whole_then() {
    let short = Curve::try_from(vec![Point {
        rows: 1,
        run: Duration::from_millis(1),
    }])
    .unwrap();
    let climb = Climb::new(&ladder(8, None), 1, Some(&short)).refreshed(AGES, false);
    let mut bench = Bench::new(climb, line(0.001, 0.000_1), 0.05, 5);
    while bench.climb.best() < 8 {
        assert_eq!(bench.climb.curve(), None, "not before it is climbed");
        bench.backlog(1);
        assert!(bench.spent.0 < 600.0, "{:?}", bench.climb);
    }
    bench.backlog(2_000);
    let curve = bench.climb.curve().unwrap();
    assert_eq!(bench.climb.best(), 8);
    assert_eq!(
        curve
            .points()
            .iter()
            .map(|point| point.rows)
            .collect::<Vec<_>>(),
        [1, 2, 4, 8]
    );
}

#[test]
fn two_steps_may_gain_what_one_does_not() {
    let shy = |rows: usize| {
        let throughput = match rows {
            0..=1 => 1_000.0,
            2..=3 => 1_030.0,
            _ => 1_300.0,
        };
        rows as f64 / throughput
    };
    let mut bench = Bench::new(starting(1), shy, 0.02, 6);
    bench.backlog(20_000);
    assert_eq!(bench.climb.best(), 4);
}

#[test]
fn nothing_is_tried_that_may_take_too_long_or_that_somebody_has_no_time_for() {
    let time = line(0.000_9, 0.000_1);
    let within = Duration::from_secs_f64(time(32));
    let climb = Climb::new(&ladder(MOST, None), 1, None).refreshed(within, true);
    let mut bench = Bench::new(climb, &time, 0.0, 7);
    bench.backlog(50_000);
    assert!(*bench.ran.last().unwrap() <= 32, "{:?}", bench.ran);
    assert!(bench.climb.best() >= 8);

    let mut hurried = starting(8);
    let mut appetite = Appetite::default();
    for _ in 0..10_000 {
        assert_eq!(hurried.trial(MOST, &appetite, |_| false), None);
        let observed = observed(8, time(8));
        appetite.record(8, observed.run);
        hurried.ran(&observed);
    }
    let tried = hurried.trial(MOST, &appetite, |rows| rows < 8);
    assert_eq!(tried, Some(4), "a smaller one may be in time");
}

#[test]
fn where_nothing_is_to_be_tried_nothing_is() {
    for mut climb in [
        Climb::new(&ladder(MOST, None), 8, None),
        Climb::new(&ladder(1, None), 1, None).refreshed(AGES, true),
    ] {
        let best = climb.best();
        for _ in 0..1_000 {
            climb.ran(&observed(best, 0.01));
            assert_eq!(climb.trial(MOST, &Appetite::default(), |_| true), None);
        }
        assert_eq!(
            (climb.reach(&Appetite::default()), climb.curve()),
            (best, None)
        );
    }
}

#[test]
fn a_size_whose_run_was_stopped_is_not_run_again_for_long() {
    let time = line(0.000_9, 0.000_1);
    let mut bench = Bench::new(starting(64), &time, 0.05, 8);
    bench.backlog(100);
    assert!(!bench.climb.too_many(100));
    assert_eq!(bench.climb.best(), 64, "it is smaller already");
    assert!(bench.climb.too_many(60));
    assert_eq!(bench.climb.best(), 32);
    bench.ran.clear();
    bench.ran.insert(32);
    bench.backlog(30_000);
    assert!(*bench.ran.last().unwrap() <= 32, "{:?}", bench.ran);
    bench.backlog(100_000);
    assert!(bench.climb.best() >= 64, "but not for ever");
    assert!(!bench.climb.too_many(1));
    assert!(
        bench.climb.best() >= 64,
        "of one row there is no smaller batch"
    );
    // The same where nothing is tried.
    let mut fixed = Climb::new(&ladder(48, None), 48, None);
    assert!(fixed.too_many(48));
    assert_eq!(fixed.best(), 32);
    assert_eq!(fixed.curve(), None, "or it would be so after a restart too");
}

#[test]
fn a_size_that_fails_when_it_is_tried_is_tried_less_and_less() {
    let (mut climb, mut appetite, mut fails) = (starting(4), Appetite::default(), 0);
    for _ in 0..100_000 {
        let rows = climb.trial(MOST, &appetite, |_| true).unwrap_or(4);
        if rows > 4 {
            fails += 1;
            climb.failed(&observed(rows, 0.001));
        } else {
            let observed = observed(rows, 0.001 + 0.001 * rows as f64);
            appetite.record(rows, observed.run);
            climb.ran(&observed);
        }
    }
    assert_eq!(climb.best(), 4);
    assert!((3..20).contains(&fails), "{fails}");
}

#[test]
fn batches_of_sequences_are_compared_by_their_steps() {
    // Twice as many rows, which are half as long by chance, for as long: no gain.
    let (mut climb, mut appetite) = (starting(4), Appetite::default());
    for _ in 0..20_000 {
        let trial = climb.trial(MOST, &appetite, |_| true);
        let rows = trial.unwrap_or(climb.best());
        let steps = Steps {
            real: 100,
            padded: 120,
        };
        let run = Duration::from_millis(1);
        appetite.record(rows, run);
        climb.ran(&BatchObservation { rows, run, steps });
        assert!(climb.best() <= 4, "{climb:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn on_any_device_it_comes_near_the_highest_throughput_stays_and_costs_little(
        (base, is_forest) in (0.0..0.003, any::<bool>()),
        noise in 0.0..0.08,
        start in 0_usize..10,
        few in 0.0..0.5,
        seed in any::<u64>(),
    ) {
        let smooth = line(base, 0.000_1);
        let time = move |rows| if is_forest { forest(rows) } else { smooth(rows) };
        let start = ladder(MOST, None)[start];
        let mut bench = Bench::new(starting(start), time, noise, seed);
        let mut at_half = 0;
        for run in 0..60_000 {
            // Now and then hardly anything waits.
            let lull = bench.rng.random_bool(few);
            let waiting = if lull { bench.rng.random_range(1..20) } else { 10 * MOST };
            bench.run(waiting);
            if run == 30_000 {
                at_half = bench.changes;
            }
        }
        let (best, part) = (bench.climb.best(), bench.part());
        prop_assert!(part > 0.92, "{best} of {start}: {part}");
        prop_assert!(bench.changes <= 15 && bench.changes - at_half <= 3, "{} {at_half}", bench.changes);
        let (all, trials) = bench.spent;
        prop_assert!(trials <= 0.02 * all + 0.2, "{trials} of {all}");
    }
}
