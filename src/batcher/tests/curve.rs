//! Curves of devices that are made up.

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;

const US: Duration = Duration::from_micros(1);

fn of(points: &[(usize, u32)]) -> Curve {
    let points = points.iter().map(|(rows, us)| Point {
        rows: *rows,
        run: *us * US,
    });
    Curve::try_from(points.collect::<Vec<_>>()).unwrap()
}

fn sizes(curve: &Curve) -> Vec<usize> {
    curve.points().iter().map(|point| point.rows).collect()
}

fn took(us: u32) -> Run {
    Run {
        batch: us * US,
        spent: us * US,
    }
}

fn rows(rows: usize) -> u32 {
    u32::try_from(rows).unwrap()
}

fn whole<E: std::fmt::Debug>(measured: Measured<E>) -> Curve {
    let Measured::Whole(curve) = measured else {
        panic!("{measured:?}")
    };
    curve
}

/// Measures a device for which b rows take `cost(b)` µs, with all the time in the world.
fn measured(most: usize, cost: impl Fn(usize) -> u32) -> Curve {
    let mut rng = StdRng::seed_from_u64(7);
    let run = |rows| Ok::<_, ()>(took(cost(rows)));
    whole(measure(&ladder(most, None), Duration::MAX, run, &mut rng))
}

#[test]
fn the_best_size_is_the_smallest_that_is_nearly_as_good_as_the_best() {
    // a start of 100 µs and 10 µs a row: 256 rows are 98 % of what 512 are
    assert_eq!(measured(512, |b| 100 + 10 * rows(b)).best().rows, 256);
    // throughput falls past 64: a line through the ends would say 256
    let forest = of(&[(1, 50), (16, 200), (64, 500), (128, 1_500), (256, 3_100)]);
    assert_eq!(forest.best().rows, 64);
    assert_eq!(measured(96, |_| 1_000).best().rows, 96);
    assert_eq!(measured(64, rows).best().rows, 1);
}

#[test]
fn the_ladder_doubles_up_to_the_largest_and_knows_full_runs_of_a_fixed_width() {
    assert_eq!(ladder(1, None), [1]);
    assert_eq!(ladder(5, None), [1, 2, 4, 5]);
    assert_eq!(ladder(8, None), [1, 2, 4, 8]);
    assert_eq!(
        ladder(100, Some(24)),
        [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 100]
    );
    assert_eq!(ladder(4, Some(16)), [1, 2, 4]);
}

#[test]
fn a_machine_that_stalls_now_and_then_changes_no_median() {
    let mut count = 0;
    let mut rng = StdRng::seed_from_u64(1);
    let run = |b: usize| {
        count += 1;
        let stall = if count % 5 == 0 { 50_000 } else { 0 };
        Ok::<_, ()>(took(100 + 10 * rows(b) + stall))
    };
    let curve = whole(measure(&ladder(64, None), Duration::MAX, run, &mut rng));
    for point in curve.points() {
        assert_eq!(point.run, (100 + 10 * rows(point.rows)) * US);
    }
}

#[test]
fn a_size_that_fails_ends_the_ladder_whenever_it_fails() {
    let mut rng = StdRng::seed_from_u64(1);
    for first in [0, 3] {
        let mut tries = 0;
        let run = |b| {
            tries += usize::from(b == 16);
            if b == 16 && tries > first {
                Err("no")
            } else {
                Ok(took(1))
            }
        };
        let ended = measure(&ladder(64, None), Duration::MAX, run, &mut rng);
        let Measured::Failed(16, "no", Some(curve)) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(sizes(&curve), [1, 2, 4, 8]);
    }
    let ended = measure(&ladder(64, None), Duration::MAX, |_| Err("no"), &mut rng);
    assert!(
        matches!(ended, Measured::Failed(1, "no", None)),
        "{ended:?}"
    );
}

#[test]
fn a_size_that_fails_is_told_even_where_time_was_short() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut tries = 0;
    let run = |b| {
        tries += 1;
        match (b, tries) {
            (1, ..3) => Ok(took(10)),
            (1, _) => Ok(took(100)),
            _ => Err("no"),
        }
    };
    let ended = measure(&ladder(64, None), 60 * US, run, &mut rng);
    assert!(
        matches!(ended, Measured::Failed(2, "no", None)),
        "{ended:?}"
    );
}

#[test]
fn where_time_was_short_the_best_of_what_ran_in_time_counts() {
    let slow = |b| Ok::<_, ()>(took(1_000 * rows(b).min(3) + rows(b)));
    let ended = measure(
        &ladder(64, None),
        30_000 * US,
        slow,
        &mut StdRng::seed_from_u64(1),
    );
    let Measured::Short(Some(curve)) = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(sizes(&curve), [1, 2, 4, 8]);
    let within = |us: u32| curve.best_within(us * US).rows;
    assert_eq!(within(900), 1, "none ran in time");
    assert_eq!(within(2_500), 1, "2 gain nothing");
    assert_eq!(within(3_004), 4, "8 take longer");
    assert_eq!(within(3_008), 8);
}

#[test]
fn what_is_no_curve_is_not_read_as_one() {
    let curve = of(&[(1, 10), (2, 15)]);
    let text = serde_json::to_string(&curve).unwrap();
    assert_eq!(serde_json::from_str::<Curve>(&text).unwrap(), curve);
    let point = |(rows, secs)| format!(r#"{{"rows":{rows},"run":{{"secs":{secs},"nanos":0}}}}"#);
    let wrong = [
        vec![],
        vec![(0, 1)],
        vec![(2, 1), (4, 1)],
        vec![(1, 1), (1, 1)],
        vec![(1, 1), (4, 1), (2, 1)],
        vec![(1, 1), (2, 0)],
    ];
    for points in wrong {
        let points: Vec<_> = points.into_iter().map(point).collect();
        let text = format!("[{}]", points.join(","));
        assert!(serde_json::from_str::<Curve>(&text).is_err(), "{text}");
    }
}

proptest! {
    /// A device whose cost is a start and so much a row, or a row squared.
    #[test]
    fn measuring_keeps_to_about_its_time_and_the_best_is_a_size_that_ran_often(
        most in 1_usize..600,
        start in 1_u32..5_000,
        row in 1_u32..500,
        square in 0_u32..3,
        budget_ms in 0_u64..400,
        seed: u64,
    ) {
        let (mut spent, mut longest) = (Duration::ZERO, Duration::ZERO);
        let mut ran = BTreeMap::new();
        let run = |b: usize| {
            let time = (start + row * rows(b) + square * rows(b) * rows(b)) * US;
            *ran.entry(b).or_insert(0) += 1;
            spent += time;
            longest = longest.max(time);
            Ok::<_, ()>(Run { batch: time, spent: time })
        };
        let budget = Duration::from_millis(budget_ms);
        let mut rng = StdRng::seed_from_u64(seed);
        let ended = measure(&ladder(most, None), budget, run, &mut rng);
        prop_assert!(spent <= budget + 2 * longest, "{spent:?}");
        let curve = match ended {
            Measured::Whole(curve) => curve,
            Measured::Short(None) => return Err(TestCaseError::fail("the smallest runs in any case")),
            Measured::Short(Some(curve)) => {
                prop_assert!(curve.points().iter().all(|point| ran.contains_key(&point.rows)));
                return Ok(());
            }
            Measured::Failed(..) => return Err(TestCaseError::fail("nothing fails here")),
        };
        prop_assert_eq!(sizes(&curve), ladder(most, None));
        for point in curve.points() {
            prop_assert!(ran[&point.rows] > FEW);
        }
        let best = curve.best();
        prop_assert!(curve.points().contains(&best));
        for point in curve.points() {
            prop_assert!(best.throughput() >= 0.95 * point.throughput());
        }
    }
}
