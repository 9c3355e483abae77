//! What a device is found to want, and what becomes of that between two starts.

use std::{fs, path::Path};

use inferq::{
    batcher::{Config, curve::Curve},
    engine::Engine,
    repository::Live,
};

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
        curve,
        max_size,
        warnings,
        ..
    } = &***live;
    let came = (curve.clone(), *max_size, warnings.clone());
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
    // measured again it would hardly be the same to the nanosecond
    assert_eq!((recalled, warnings), (measured.clone(), vec![]));

    let changed = Packages::of(&[]);
    changed.changed("fraud", "description = \"", "description = \"Again. ");
    let (anew, ..) = loaded(changed.path().as_ref(), &config).await;
    assert_ne!(anew, measured);
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 2);
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
async fn a_model_for_which_there_is_too_little_time_keeps_what_its_package_says() {
    let config = Config {
        measure_ms: 1,
        ..Config::default()
    };
    let packages = crate::faults::packages::laborious(10_000);
    let (curve, batch, warnings) = loaded(packages.path(), &config).await;
    assert_eq!(curve, None);
    assert!(batch > 1, "{batch}");
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
