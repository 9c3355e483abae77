//! More sessions, more workers.

use serde_json::Value;

use super::{
    assert_at_rest,
    case::Case,
    clients::{CLIENTS, hold},
    packages::copy_of_samples,
};
use crate::worker::{Worker, samples, vhost};

/// Requests that training never saw, `count` of them, with scikit-learn's own prediction.
fn held_out(count: usize) -> Vec<Case> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/held_out/diagnosis/requests.ndjson"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let cases = text
        .lines()
        .cycle()
        .take(count)
        .enumerate()
        .map(|(at, line)| {
            let line: Value = serde_json::from_str(line).unwrap();
            Case::object(&format!("{at}"), "diagnosis", line["request"].clone())
        });
    cases.collect()
}

#[test]
fn a_package_runs_as_many_sessions_as_its_manifest_says_or_as_suit_the_machine() {
    let url = vhost();
    let folder = copy_of_samples();
    let manifest = folder.path().join("diagnosis/1.0.0/package.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let text = text.replace(
        "[batch]\nmax_size = 64",
        "[sessions]\ncount = 3\n\n[batch]\nmax_size = 1",
    );
    std::fs::write(&manifest, text).unwrap();
    let worker = Worker::start(&url, folder.path());
    let status = worker.status();
    let packages = status["packages"].as_array().unwrap();
    let ways = ["diagnosis", "fraud"].map(|name| {
        let of_it = |package: &&Value| package["name"] == name;
        let status = packages.iter().find(of_it).unwrap();
        ["sessions", "threads"].map(|key| status[key].as_u64().unwrap())
    });
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    let (many, wide) = (cores.min(64), cores.min(256));
    assert_eq!(ways[0], [3, 1]);
    assert!(
        [[1, 1], [many, 1], [1, wide]].contains(&ways[1]),
        "{ways:?}"
    );
    hold("aio-pika", &url, &held_out(300));
    assert_at_rest(&worker, &url);
}

#[test]
fn two_workers_on_the_same_queues_share_the_load_and_both_answer() {
    let url = vhost();
    let workers = [
        Worker::start(&url, &samples()),
        Worker::start(&url, &samples()),
    ];
    for client in CLIENTS {
        hold(client, &url, &held_out(150));
    }
    let answered = workers
        .each_ref()
        .map(|worker| worker.metric("inferq_outcomes_total{package=\"diagnosis\"}"));
    let sum: f64 = answered.iter().sum();
    assert!((299.5..300.5).contains(&sum), "{answered:?}");
    assert!(answered.iter().all(|count| *count >= 50.0), "{answered:?}");
    for worker in &workers {
        assert_at_rest(worker, &url);
    }
}
