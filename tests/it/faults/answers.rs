//! What never reaches a model is answered all the same: late, unroutable, given up by the broker.

use lapin::{options::BasicNackOptions, types::AMQPValue};
use serde_json::json;

use super::{
    BOUND, Client, delivery_count, header_text, labour, numbered, properties, request, unix_ms,
    with_header,
};
use crate::worker::{Worker, vhost};

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_expire_while_no_worker_runs_are_answered_when_one_does() {
    let (url, packages) = (vhost(), labour());
    let mut worker = Worker::start(&url, packages.path());
    worker.signal("TERM");
    assert!(worker.wait().success());
    let mut client = Client::connect(&url).await;
    // The broker drops what is late only at the head of the queue: these wait behind others that are not.
    client.send_all("labour", numbered(0..20, 1)).await;
    let expiring = numbered(20..60, 1).into_iter();
    let expiring =
        expiring.map(|(properties, body)| (properties.with_expiration("50".into()), body));
    client.send_all("labour", expiring.collect()).await;
    let mut worker = Worker::start(&url, packages.path());
    client.until_answered(60).await;
    client.assert_outcomes(0..20);
    for id in 20..60 {
        let answer = client.answer(&id.to_string());
        assert_eq!(answer.code(), "deadline_exceeded", "{id}: {answer:?}");
        assert_eq!(answer.body["package"], "labour");
    }
    // Those that were at the head went by way of the broker.
    let late = properties("head").with_expiration("1".into());
    // A worker that drains has settled what it answered; one that is killed leaves some of it to be answered again.
    worker.signal("TERM");
    assert!(worker.wait().success());
    client.send("labour", late, &request(0, 1)).await;
    client.until_ready("inferq.died", 1).await;
    let _worker = Worker::start(&url, packages.path());
    client.until_answered(61).await;
    assert_eq!(client.answer("head").code(), "deadline_exceeded");
    assert_eq!(client.answer("head").body["instance"], "head");
    assert_eq!(client.duplicates(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_expire_while_a_worker_is_frozen_or_busy_are_answered() {
    let (url, packages) = (vhost(), labour());
    let worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    // Credit is 1: what is published now stays in the queue and expires there.
    worker.signal("STOP");
    let late = numbered(0..20, 1).into_iter();
    let late = late.map(|(properties, body)| (properties.with_expiration("100".into()), body));
    client.send_all("labour", late.collect()).await;
    let arrived = std::time::Instant::now();
    while client.ready("inferq.died").await == 0 {
        assert!(arrived.elapsed() < BOUND, "nothing expires");
        super::tick().await;
    }
    worker.signal("CONT");
    client.until_answered(20).await;
    let late = |id: &usize| client.answer(&id.to_string()).code() == "deadline_exceeded";
    let count = (0..20).filter(late).count();
    eprintln!("{count} of 20 expired while the worker was frozen");
    assert!(count >= 18, "at most what it had in hand is scored");

    // Already late, and late behind a request that keeps the model busy.
    let past = with_header(
        properties("past"),
        "inferq-deadline",
        AMQPValue::LongLongInt(unix_ms() - 1),
    );
    client.send("labour", past, &request(1, 1)).await;
    client.send_all("labour", numbered(20..100, 1)).await;
    client.until_answered(101).await;
    client
        .send_all("labour", numbered(100..101, 2_000_000))
        .await;
    worker.await_that("busy", |worker| {
        worker.status()["packages"][0]["running_batches"] == 1
    });
    let soon = AMQPValue::LongLongInt(unix_ms() + 150);
    let behind = numbered(101..111, 1).into_iter();
    let behind = behind.map(|(p, body)| (with_header(p, "inferq-deadline", soon.clone()), body));
    client.send_all("labour", behind.collect()).await;
    client.until_answered(112).await;
    assert_eq!(client.answer("past").code(), "deadline_exceeded");
    client.assert_outcomes(20..101);
    for id in 101..111 {
        assert_eq!(client.answer(&id.to_string()).code(), "deadline_exceeded");
    }
    assert_eq!(client.duplicates(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_what_nobody_serves_are_answered() {
    let (url, packages) = (vhost(), labour());
    let _worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    let long = "k".repeat(255);
    let keys = [
        "nobody",
        "labour.nothing",
        "labour.high",
        "",
        "#",
        "inferq.labour",
        &long,
    ];
    for (id, key) in keys.iter().enumerate() {
        client
            .send(key, properties(&id.to_string()), &json!({}))
            .await;
    }
    client.until_answered(keys.len()).await;
    for id in 0..keys.len() {
        let answer = client.answer(&id.to_string());
        assert_eq!(answer.code(), "unknown_package", "{answer:?}");
        assert_eq!(answer.body["stage"], "resolve");
    }
    assert_eq!(client.duplicates(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_gives_up_runs_alone_or_is_answered_with_a_fault_and_kept() {
    let (url, packages) = (vhost(), labour());
    let mut worker = Worker::start(&url, packages.path());
    worker.signal("TERM");
    assert!(worker.wait().success());
    let mut client = Client::connect(&url).await;
    // Given back until the broker's own limit, and refused by somebody who should not consume here.
    for (id, requeue) in [("limit", true), ("refused", false)] {
        // That alone says nothing.
        let sent = with_header(properties(id), "inferq-lost", AMQPValue::LongLongInt(99));
        client.send("labour", sent, &request(5, 1)).await;
        let mut returns = 0;
        while let Some(message) = client.get("inferq.labour").await {
            assert_eq!(delivery_count(&message), returns);
            returns += 1;
            let options = BasicNackOptions {
                multiple: false,
                requeue,
            };
            message.nack(options).await.unwrap();
        }
        eprintln!("{id}: given up after {returns} returns");
    }
    client.until_ready("inferq.died", 2).await;
    let _worker = Worker::start(&url, packages.path());
    client.until_answered(2).await;
    // No worker need have died with it.
    assert_eq!(client.answer("limit").body["y"], 5);
    assert_eq!(client.answer("refused").code(), "internal_fault");
    client.until_ready("inferq.dead.labour", 1).await;
    let letters = client.drain("inferq.dead.labour").await;
    let letter = &letters[0];
    let reason = header_text(&letter.properties, "inferq-reason").unwrap();
    assert_eq!(reason, "given_up");
    assert_eq!(letter.data, request(5, 1).to_string().into_bytes());
    assert_eq!(delivery_count(letter), 0);
    for gone in ["x-death", "inferq-lost"] {
        assert_eq!(super::header(&letter.properties, gone), None);
    }
    assert_eq!(client.duplicates(), 0);
}
