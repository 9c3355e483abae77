//! Workers that share a backlog.

use std::time::{Duration, Instant};

use super::{CORES, Client, numbered, packages::laborious};
use crate::worker::{Worker, vhost};

/// Turns of a loop that take a model some tens of milliseconds, whatever the batch.
const WORK: u64 = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_joins_a_deep_backlog_soon_has_its_share_of_it() {
    const COUNT: usize = 6_000;
    let _cores = CORES.lock().await;
    let (url, packages) = (vhost(), laborious(WORK));
    let first = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    client.send_all("labour", numbered(0..COUNT, WORK)).await;
    client.until_answered(500).await;
    let credit = |worker: &Worker| {
        let queues = worker.status()["broker"]["queues"].clone();
        let mut each = queues.as_array().unwrap().iter();
        let queue = each.find(|queue| queue["queue"] == "inferq.labour");
        queue.unwrap()["credit"].as_u64().unwrap()
    };
    let alone = credit(&first);

    let second = Worker::start(&url, packages.path());
    let joined = Instant::now();
    // In time of their sessions: which of two busy ones the machine gives more of its cores is not up to them.
    let ran = |worker: &Worker| worker.metric("inferq_run_seconds_sum{package=\"labour\"");
    let done = |worker: &Worker| worker.metric("inferq_outcomes_total{package=\"labour\"");
    let both = |of: &dyn Fn(&Worker) -> f64| [of(&first), of(&second)];
    while joined.elapsed() < Duration::from_secs(1) {
        client.next().await;
    }
    let before = [both(&ran), both(&done)];
    client
        .until_answered(client.answers.len() + COUNT / 4)
        .await;
    let after = [both(&ran), both(&done)];
    let [share, of_outcomes] = [0, 1].map(|which| {
        let [first, second] = [0, 1].map(|worker| after[which][worker] - before[which][worker]);
        second / (first + second)
    });
    eprintln!(
        "credit {alone}; within a second of joining {share:.2} of the time, {of_outcomes:.2} of the outcomes"
    );
    assert!(share >= 0.4, "{share}");
    // Two batches, and what the model does in three tenths of a second: below what it may be.
    assert!((16..1_000).contains(&alone), "{alone}");
    client.until_answered(COUNT).await;
    assert_eq!(client.duplicates(), 0);
}
