//! `inferq profile`.

use std::fs;

use inferq::{batcher::Config, engine::Engine};
use serde_json::Value;

use super::{Done, Packages, inferq, package, run};

#[test]
fn a_profile_is_a_line_a_size_a_picture_and_figures_and_the_workers_find_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (package, svg, json, state) = (
        package("digits"),
        file("p.svg"),
        file("p.json"),
        file("state"),
    );
    let mut command = inferq(&["profile", &package, "--svg", &svg, "--json", &json]);
    command.env("INFERQ__APPETITE__STATE_DIR", &state);
    let done = Done::of(&command.output().unwrap());
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{}", done.out);

    let (ways, sizes): (Vec<&str>, Vec<&str>) = done
        .out
        .lines()
        .skip(3)
        .partition(|line| line.contains(": "));
    let rows = sizes
        .iter()
        .map(|line| line.split_whitespace().next().unwrap());
    let rows: Vec<&str> = rows.collect();
    assert_eq!(rows, ["1", "2", "4", "8", "16", "32", "64"]);
    let best: Vec<_> = sizes
        .iter()
        .filter(|line| line.ends_with(" best"))
        .collect();
    let figures: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let best_rows = figures["best_rows"].to_string();
    assert_eq!(best.len(), 1);
    assert_eq!(best[0].split_whitespace().next(), Some(best_rows.as_str()));
    assert_eq!(figures["points"].as_array().unwrap().len(), rows.len());
    assert!(figures["points"].as_array().unwrap().iter().all(|point| {
        let ratio = point["rows"].as_f64().unwrap() * 1e6 / point["run_us"].as_f64().unwrap();
        (ratio / point["rows_per_s"].as_f64().unwrap() - 1.0).abs() < 1e-6
    }));
    let tried = figures["tried"].as_array().unwrap();
    assert_eq!(ways.len(), tried.len(), "{ways:?}");
    let taken = ways.iter().filter(|way| way.ends_with(", taken")).count();
    assert_eq!(taken, 1, "{ways:?}");
    assert!(fs::read_to_string(&svg).unwrap().starts_with("<svg"));

    let config = Config {
        state_dir: Some(state.into()),
        ..Config::default()
    };
    let digits = Packages::of(&["digits"]);
    let engine = Engine::measured(digits.path().as_ref(), None, &config).unwrap();
    let recalled: Vec<_> = engine
        .repository()
        .live()
        .map(|live| live.curve.clone())
        .collect();
    let points = recalled[0].as_ref().unwrap().points();
    let points = points.iter().map(|point| point.run.as_secs_f64() * 1e6);
    let told = figures["points"].as_array().unwrap().iter();
    // Measured again they would hardly be the same.
    assert!(
        told.map(|point| point["run_us"].as_f64().unwrap())
            .eq(points)
    );
}

#[test]
fn where_the_time_is_up_what_ran_is_shown() {
    let mut command = inferq(&["profile", &package("digits")]);
    command.env("INFERQ__APPETITE__MEASURE_MS", "1");
    let done = Done::of(&command.output().unwrap());
    assert_eq!(done.code, 0, "{}", done.err);
    let warned = "found no best batch size within appetite.measure_ms = 1";
    assert!(done.err.contains(warned), "{}", done.err);
    let taken = done.out.lines().filter(|line| line.ends_with("█ taken"));
    assert_eq!(taken.count(), 1, "{}", done.out);
}

#[test]
fn what_keeps_a_profile_from_being_made_is_named() {
    let package = package("fraud");
    let mut command = inferq(&["profile", &package]);
    command.env("INFERQ__APPETITE__MEASURE_MS", "0");
    Done::of(&command.output().unwrap()).failed(64, &["appetite.measure_ms: found 0"]);
    let nowhere = run(&["profile", &package, "--json", "/nowhere/p.json"]);
    nowhere.failed(64, &["/nowhere/p.json", "name another file"]);
    run(&["profile", "/nowhere"]).failed(65, &["/nowhere"]);
}
