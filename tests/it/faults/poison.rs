//! A request that no worker survives.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{BOUND, Client, header_number, header_text, labour, numbered, properties, request};
use crate::worker::{Worker, vhost};

/// Turns of the model's loop that no worker lives to see the end of.
const FOREVER: u64 = 1 << 50;
/// A watchdog kills a worker whose oldest delivery is older than this.
const HUNG: f64 = 3.0;

fn queue(status: &Value) -> &Value {
    let queues = status["broker"]["queues"].as_array().unwrap();
    queues
        .iter()
        .find(|queue| queue["queue"] == "inferq.labour")
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poison_among_60_requests_at_prefetch_512_costs_no_neighbour_its_outcome() {
    let (url, packages) = (vhost(), labour());
    let mut worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    client.send_all("labour", numbered(0..1_500, 1)).await;
    client.until_answered(1_500).await;
    worker.await_that("trusted", |worker| {
        queue(&worker.status())["credit"].as_u64() >= Some(128)
    });

    let mut requests = numbered(1_500..1_559, 50);
    requests.insert(20, (properties("poison"), request(0, FOREVER).to_string()));
    client.send_all("labour", requests).await;

    // What a process manager does, with a liveness probe of its own: kill -9, and start again.
    let mut kills = Vec::new();
    let start = Instant::now();
    while client.answers.len() < 1_560 {
        assert!(start.elapsed() < BOUND, "kills {kills:?}: {}", worker.log());
        let next = tokio::time::timeout(Duration::from_millis(200), client.next());
        if next.await.is_ok() {
            continue;
        }
        let Some((_, status)) = worker.get("/status") else {
            continue;
        };
        let status: Value = serde_json::from_str(&status).unwrap();
        let queue = queue(&status);
        if queue["oldest_unsettled_s"].as_f64() > Some(HUNG) {
            kills.push(queue["in_hand"].as_u64().unwrap());
            worker.signal("KILL");
            worker.wait();
            worker = Worker::start(&url, packages.path());
        }
    }
    client.take_rest().await;
    eprintln!(
        "in hand at each kill -9: {kills:?}; duplicated {}; {:.1} s",
        client.duplicates(),
        start.elapsed().as_secs_f64()
    );
    assert_eq!(kills.len(), 4, "delivered four times, and not run again");
    client.assert_outcomes(0..1_559);
    assert_eq!(client.answer("poison").code(), "model_fault");
    client.until_ready("inferq.dead.labour", 1).await;
    let letters = client.drain("inferq.dead.labour").await;
    let letter = &letters[0];
    assert_eq!(letter.data, request(0, FOREVER).to_string().into_bytes());
    assert_eq!(
        header_text(&letter.properties, "inferq-reason").as_deref(),
        Some("poison")
    );
    assert!(header_number(&letter.properties, "inferq-attempts").is_some());
}
