//! What a device is found to want, and what becomes of that between two starts.

use std::{
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use inferq::{
    batcher::{Config, curve::Curve},
    engine::{Engine, Request},
    package::Sessions,
    repository::Live,
};
use serde_json::{Value, json};

use crate::{
    cli::{Packages, run, sample},
    worker::{Worker, samples, vhost},
};

/// Loads a repository as `config` says; what its only package came to.
async fn loaded(repository: &Path, config: &Config) -> (Option<Curve>, usize, Vec<String>) {
    let engine = Engine::measured(repository, None, config).unwrap();
    let live: Vec<_> = engine.repository().live().collect();
    let [live] = live.as_slice() else {
        panic!("one package, not {live:?}")
    };
    let Live {
        curve, warnings, ..
    } = &***live;
    let came = (curve.clone(), live.max_size(), warnings.clone());
    engine.close().await;
    came
}

fn keeping(dir: &Path) -> Config {
    Config {
        state_dir: Some(dir.to_owned()),
        ..Config::default()
    }
}

#[tokio::test]
async fn what_was_measured_is_recalled_and_what_has_changed_is_measured_anew() {
    let state = tempfile::tempdir().unwrap();
    let config = keeping(state.path());
    let packages = Packages::of(&["fraud"]);
    let (measured, batch, _) = loaded(packages.path().as_ref(), &config).await;
    let curve = measured.as_ref().unwrap();
    assert_eq!(batch, curve.best().rows);
    assert!(curve.points().len() > 3, "{curve:?}");
    let (recalled, _, warnings) = loaded(packages.path().as_ref(), &config).await;
    let kept = fs::read_dir(state.path()).unwrap().count();
    // measured again it would hardly be the same to the nanosecond
    assert_eq!((recalled, warnings), (measured.clone(), vec![]));

    let changed = Packages::of(&[]);
    changed.changed("fraud", "description = \"", "description = \"Again. ");
    let (anew, ..) = loaded(changed.path().as_ref(), &config).await;
    assert_ne!(anew, measured);
    assert!(fs::read_dir(state.path()).unwrap().count() > kept);
}

#[tokio::test]
async fn where_a_manifest_names_no_sessions_what_is_best_is_taken_and_taken_again() {
    let state = tempfile::tempdir().unwrap();
    let packages = Packages::of(&["fraud"]);
    let load = async || {
        let config = keeping(state.path());
        let engine = Engine::measured(packages.path().as_ref(), None, &config).unwrap();
        let live = Arc::clone(engine.repository().live().next().unwrap());
        engine.close().await;
        (live.sessions, live.tried.clone())
    };
    let (taken, tried) = load().await;
    let ways: Vec<_> = tried.iter().map(|(way, _)| *way).collect();
    let cores = thread::available_parallelism().unwrap().get();
    let way = |count, threads| Sessions { count, threads };
    let all = [way(1, 1), way(cores.min(64), 1), way(1, cores.min(256))];
    assert_eq!(ways, if cores == 1 { &all[..1] } else { &all[..] });
    let of = |wanted| tried.iter().find(|(way, _)| *way == wanted).unwrap();
    let (single, best) = (of(all[0]).1.as_ref(), of(taken).1.as_ref());
    assert!(
        taken == all[0] || best.unwrap() > single.unwrap(),
        "{tried:?}"
    );
    assert_eq!(load().await.0, taken);
}

#[tokio::test]
async fn where_nothing_is_measured_batches_are_what_the_package_says() {
    let config = Config {
        measure_ms: 0,
        ..Config::default()
    };
    let packages = Packages::of(&["fraud"]);
    let (curve, batch, _) = loaded(packages.path().as_ref(), &config).await;
    let manifest = samples().join("fraud/1.0.0/package.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    let own = manifest["batch"]["max_size"].as_integer().unwrap();
    assert_eq!((curve, batch), (None, own as usize));
}

/// A package of one row a request, whose model takes longer the more its examples ask for.
#[tokio::test]
async fn a_model_for_which_there_is_too_little_time_has_batches_of_what_ran() {
    let config = Config {
        measure_ms: 1,
        ..Config::default()
    };
    let packages = crate::faults::packages::laborious(10_000);
    let (curve, batch, warnings) = loaded(packages.path(), &config).await;
    let ran: Vec<usize> = curve.unwrap().points().iter().map(|ran| ran.rows).collect();
    assert_eq!((ran, batch), (vec![1], 1));
    assert!(
        warnings[0].contains("appetite.measure_ms = 1"),
        "{warnings:?}"
    );
}

#[test]
fn a_state_directory_that_cannot_be_used_is_told_once_and_keeps_no_worker_from_serving() {
    let packages = Packages::of(&["fraud"]);
    let file = Path::new(packages.path()).join("file");
    fs::write(&file, "no directory").unwrap();
    let environment = [("INFERQ__APPETITE__STATE_DIR", file.to_str().unwrap())];
    let url = vhost();
    let worker = Worker::spawn(&url, packages.path().as_ref(), &environment);
    worker.await_ready();
    assert_eq!(
        worker.log().matches("appetite.state_dir").count(),
        1,
        "{}",
        worker.log()
    );
    let request = sample("fraud/not-fraud-1.json");
    let sent = run(&["send", "fraud", &request, "--broker-url", &url]).lines();
    assert_eq!(sent[0]["status"], "outcome");
}

/// Scores `labour` as often as it takes until `done`; at most for a minute.
async fn busy(engine: &Engine, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60));
        let score = |_| engine.score(Request::new("labour", json!({"x": 7, "work": 50})));
        let answers = futures::future::join_all((0..1_000).map(score)).await;
        assert!(answers.iter().all(|answer| answer.result.is_ok()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_measured_wrong_is_mended_by_what_comes_and_stays_mended() {
    let state = tempfile::tempdir().unwrap();
    let config = keeping(state.path());
    let packages = crate::faults::packages::laborious(50);
    loaded(packages.path(), &config).await;
    let files = fs::read_dir(state.path()).unwrap();
    let [file] = files
        .map(|file| file.unwrap().path())
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let read = || serde_json::from_str::<Value>(&fs::read_to_string(&file).unwrap()).unwrap();
    // As if it had been measured that batches spare nothing.
    let mut wrong = read();
    for point in wrong["curve"].as_array_mut().unwrap() {
        let nanos = point["rows"].as_u64().unwrap() * 1_000_000;
        point["run"] = json!({"secs": 0, "nanos": nanos});
    }
    fs::write(&file, wrong.to_string()).unwrap();

    let engine = Engine::measured(packages.path(), None, &config).unwrap();
    let live = Arc::clone(engine.repository().live().next().unwrap());
    assert_eq!((live.max_size(), read()), (1, wrong.clone()));
    busy(&engine, || live.max_size() >= 8).await;
    // It is written while the engine runs, and when that ends.
    busy(&engine, || read()["best"].is_u64()).await;
    engine.close().await;
    let (kept, best) = (read(), live.max_size());
    assert_eq!((&kept["best"], &kept["key"]), (&json!(best), &wrong["key"]));
    let slowest = kept["curve"][0]["run"]["nanos"].as_u64().unwrap();
    assert!(slowest < 900_000, "of one row, as it ran live: {slowest}");
    let (_, recalled, warnings) = loaded(packages.path(), &config).await;
    assert_eq!((recalled, warnings), (best, vec![]));
}
