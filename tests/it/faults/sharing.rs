//! Workers that share a backlog.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    CORES, Client, numbered,
    packages::{laborious, lists, narrow},
    properties,
};
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
    // Two batches, and what the model does while others come in the place of one: below what it may be.
    assert!((16..500).contains(&alone), "{alone}");
    client.until_answered(COUNT).await;
    assert_eq!(client.duplicates(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_requests_of_many_rows_is_answered_and_none_is_refused() {
    const COUNT: usize = 400;
    let _cores = CORES.lock().await;
    // Four requests of 64 rows wait at a time; the golden example, by which a worker goes at first, has one.
    let (url, packages) = (vhost(), lists(256));
    let _worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    let items: Vec<_> = (0..64).map(|x| json!({"x": x, "work": 500})).collect();
    let body = json!({"items": items}).to_string();
    let each = (0..COUNT).map(|id| (properties(&id.to_string()), body.clone()));
    client.send_all("lists", each.collect()).await;
    client.until_answered(COUNT).await;
    let kinds = client
        .answers
        .values()
        .flatten()
        .map(|answer| &*answer.kind);
    assert_eq!(kinds.filter(|kind| *kind == "outcome").count(), COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_queues_for_two_versions_no_more_is_taken_than_one_version_lets_wait() {
    const EACH: usize = 1_500;
    let (url, packages) = (vhost(), narrow(40));
    let _worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    client.send_all("labour", numbered(0..EACH, 2_000)).await;
    let urgent = numbered(EACH..2 * EACH, 2_000);
    client.send_all("labour.high", urgent).await;
    client.until_answered(2 * EACH).await;
    client.assert_outcomes(0..2 * EACH);
}
