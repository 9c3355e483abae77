//! What a device is found to want, and what becomes of that between two starts.

use std::{fs, path::Path};

use inferq::{
    batcher::{Config, curve::Curve},
    engine::Engine,
    repository::Live,
};

use crate::{
    cli::Packages,
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

#[test]
fn a_state_directory_that_cannot_be_used_is_told_and_keeps_no_worker_from_serving() {
    let packages = Packages::of(&["fraud"]);
    let file = Path::new(packages.path()).join("file");
    fs::write(&file, "no directory").unwrap();
    let environment = [("INFERQ__APPETITE__STATE_DIR", file.to_str().unwrap())];
    let worker = Worker::spawn(&vhost(), packages.path().as_ref(), &environment);
    worker.await_ready();
    let log = worker.log();
    assert!(
        log.contains("appetite.state_dir") && log.contains("cannot be"),
        "{log}"
    );
}
