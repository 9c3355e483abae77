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
    let done = |worker: &Worker| worker.metric("inferq_outcomes_total{package=\"labour\"") as u64;
    while joined.elapsed() < Duration::from_secs(1) {
        client.next().await;
    }
    let before = (done(&first), done(&second));
    client
        .until_answered(client.answers.len() + COUNT / 4)
        .await;
    let after = (done(&first), done(&second));
    let (first, second) = (after.0 - before.0, after.1 - before.1);
    let share = second as f64 / (first + second) as f64;
    eprintln!("credit {alone}; within a second of joining {share:.2} of {first} + {second}");
    assert!(share >= 0.4, "{share}");
    // Two batches, and what the model does in three tenths of a second: below what it may be.
    assert!((16..1_000).contains(&alone), "{alone}");
    client.until_answered(COUNT).await;
    assert_eq!(client.duplicates(), 0);
}
