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

/// Measures a device for which b rows take `cost(b)` µs, with all the time in the world.
fn measured(most: usize, cost: impl Fn(usize) -> u32) -> Curve {
    let mut rng = StdRng::seed_from_u64(7);
    let run = |rows| Some(cost(rows) * US);
    measure(most, Duration::MAX, run, &mut rng).unwrap()
}

#[test]
fn the_best_size_is_the_smallest_that_is_nearly_as_good_as_the_best() {
    // a start of 100 µs and 10 µs a row: 256 rows are 96 % of what 512 are
    let overhead = measured(512, |rows| 100 + 10 * u32::try_from(rows).unwrap());
    assert_eq!(overhead.best().rows, 256);
    // throughput falls past 64: a line through the ends would say 256
    let forest = of(&[(1, 50), (16, 200), (64, 500), (128, 1_500), (256, 3_100)]);
    assert_eq!(forest.best().rows, 64);
    let constant = measured(96, |_| 1_000);
    assert_eq!(
        (constant.best().rows, sizes(&constant).pop()),
        (96, Some(96))
    );
    let proportional = measured(64, |rows| u32::try_from(rows).unwrap());
    assert_eq!(proportional.best().rows, 1);
}

#[test]
fn a_machine_that_stalls_now_and_then_changes_no_median() {
    let mut count = 0;
    let mut rng = StdRng::seed_from_u64(1);
    let run = |rows: usize| {
        count += 1;
        let stall = if count % 5 == 0 { 50_000 } else { 0 };
        Some((100 + 10 * u32::try_from(rows).unwrap() + stall) * US)
    };
    let curve = measure(64, Duration::MAX, run, &mut rng).unwrap();
    for point in curve.points() {
        assert_eq!(
            point.run,
            (100 + 10 * u32::try_from(point.rows).unwrap()) * US
        );
    }
}

#[test]
fn a_size_that_does_not_run_ends_the_ladder_and_a_model_that_never_runs_has_no_curve() {
    let mut rng = StdRng::seed_from_u64(1);
    let run = |rows| (rows <= 8).then_some(US);
    let curve = measure(64, Duration::MAX, run, &mut rng).unwrap();
    assert_eq!(sizes(&curve), [1, 2, 4, 8]);
    assert_eq!(measure(64, Duration::MAX, |_| None, &mut rng), None);
}

#[test]
fn what_is_no_curve_is_not_read_as_one() {
    let curve = of(&[(1, 10), (2, 15)]);
    let text = serde_json::to_string(&curve).unwrap();
    assert_eq!(serde_json::from_str::<Curve>(&text).unwrap(), curve);
    let point = |rows: usize| format!(r#"{{"rows":{rows},"run":{{"secs":1,"nanos":0}}}}"#);
    for points in [vec![], vec![0], vec![2, 1], vec![1, 1]] {
        let points: Vec<_> = points.into_iter().map(point).collect();
        let text = format!("[{}]", points.join(","));
        assert!(serde_json::from_str::<Curve>(&text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn measuring_keeps_to_its_time_and_the_best_is_a_size_that_ran(
        most in 1_usize..600,
        start in 0_u32..5_000,
        row in 1_u32..500,
        budget_ms in 0_u64..400,
        seed: u64,
    ) {
        let (mut spent, mut ran, mut longest) = (Duration::ZERO, Vec::new(), Duration::ZERO);
        let run = |rows: usize| {
            let time = (start + row * u32::try_from(rows).unwrap()) * US;
            ran.push(rows);
            spent += time;
            longest = longest.max(time);
            Some(time)
        };
        let budget = Duration::from_millis(budget_ms);
        let curve = measure(most, budget, run, &mut StdRng::seed_from_u64(seed)).unwrap();
        // one row runs twice whatever the budget
        prop_assert!(spent <= budget.max(2 * (start + row) * US), "{spent:?}");
        prop_assert!(curve.points().iter().all(|point| ran.contains(&point.rows)));
        let best = curve.best();
        prop_assert!(curve.points().contains(&best));
        for point in curve.points() {
            prop_assert!(best.throughput() >= 0.95 * point.throughput());
            prop_assert!(point.rows >= best.rows || point.throughput() < best.throughput() / 0.95);
        }
    }
}
