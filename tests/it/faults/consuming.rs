//! A worker goes on consuming, whatever operators do to its queues, connections and broker.

use std::time::{Duration, Instant};

use lapin::{
    options::{BasicRejectOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};

use super::{BOUND, Client, labour, numbered};
use crate::{
    node::Node,
    worker::{Worker, vhost},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_deleted_under_a_worker_is_declared_and_consumed_again() {
    let (url, packages) = (vhost(), labour());
    let worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    client.send_all("labour", numbered(0..200, 1)).await;
    client.until_answered(200).await;
    for queue in ["inferq.labour", "inferq.died", "inferq.unknown"] {
        let deleting = client
            .channel
            .queue_delete(queue.into(), QueueDeleteOptions::default());
        deleting.await.unwrap();
    }
    // Until the queue is back, requests for it are answered as unknown, or lost with `inferq.unknown`.
    let (start, mut id) = (Instant::now(), 200);
    loop {
        assert!(start.elapsed() < BOUND, "{}", worker.log());
        client.send_all("labour", numbered(id..id + 1, 1)).await;
        id += 1;
        let next = tokio::time::timeout(Duration::from_millis(300), client.next());
        if next
            .await
            .is_ok_and(|(_, answer)| answer.code() == "outcome")
        {
            break;
        }
    }
    eprintln!("consumed again {:?} after the deletion", start.elapsed());
    worker.await_ready();
    client.send_all("labour", numbered(1_000..1_200, 1)).await;
    let nobody = super::properties("nobody");
    client.send("nobody", nobody, &super::request(1, 1)).await;
    while (1_000..1_200).any(|id| !client.answers.contains_key(&id.to_string()))
        || !client.answers.contains_key("nobody")
    {
        client.next().await;
    }
    client.assert_outcomes(1_000..1_200);
    assert_eq!(client.answer("nobody").code(), "unknown_package");
    let (code, _) = worker.get("/livez").unwrap();
    assert_eq!(code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_by_the_operator_and_a_memory_alarm_delay_answers_and_lose_none() {
    let node = Node::start();
    let packages = labour();
    let worker = Worker::start(&node.url(), packages.path());
    let mut client = Client::connect(&node.url()).await;
    worker.signal("STOP");
    client.send_all("labour", numbered(0..2_000, 300_000)).await;
    worker.signal("CONT");
    client.until_answered(100).await;

    node.ctl(&["close_all_connections", "maintenance"]);
    let answers = client.answers;
    client = Client::connect(&node.url()).await;
    client.answers = answers;
    client.until_answered(2_000).await;
    worker.await_that("connected again", |worker| {
        let broker = &worker.status()["broker"];
        broker["consuming"]["reconnects"] == 1 && broker["publishing"]["reconnects"] == 1
    });
    for connection in ["consuming", "publishing"] {
        let name = format!("inferq_reconnects_total{{connection=\"{connection}\"}}");
        assert_eq!(worker.metric(&name) as u64, 1);
    }
    worker.await_ready();
    let status = worker.status();
    let mut queues = status["broker"]["queues"].as_array().unwrap().iter();
    let queue = queues.find(|queue| queue["queue"] == "inferq.labour");
    let again = queue.unwrap()["redelivered"].as_u64().unwrap();
    assert!(again > 0, "nothing was in hand");
    eprintln!(
        "closed amid 2000 requests: delivered again {again}, answered twice {}",
        client.duplicates()
    );
    client.assert_outcomes(0..2_000);

    // What a worker has already is scored meanwhile, and its reply waits for the alarm's end.
    park(&client, "later").await;
    client.send_all("later", numbered(2_020..2_030, 1)).await;
    worker.signal("STOP");
    client.send_all("labour", numbered(2_000..2_020, 1)).await;
    node.ctl(&["set_vm_memory_high_watermark", "0"]);
    worker.signal("CONT");
    worker.await_that("blocked", |worker| {
        worker.get("/readyz").is_some_and(|(code, text)| {
            code == 503
                && text.contains("the broker takes no publications")
                && text.contains("memory")
        })
    });
    assert_eq!(worker.get("/livez").unwrap().0, 200);
    let idle = |worker: &Worker| {
        let package = worker.status()["packages"][0].clone();
        package["waiting_rows"] == 0 && package["running_batches"] == 0
    };
    worker.await_that("done with that", idle);

    // What comes now is not: the broker itself passes on what was parked.
    let count = |worker: &Worker, name: &str| {
        let name = format!("inferq_{name}{{package=\"labour\"");
        worker.metric(&name) as u64
    };
    let (came, scored) = (
        count(&worker, "requests_total"),
        count(&worker, "batch_rows_sum"),
    );
    let short = r#"{"max-length":0}"#;
    node.ctl(&["set_policy", "--apply-to", "queues", "on", "^later$", short]);
    worker.await_that("given more", |worker| {
        count(worker, "requests_total") == came + 10
    });
    assert!(idle(&worker));
    assert_eq!(count(&worker, "batch_rows_sum"), scored);

    node.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    client.until_answered(2_030).await;
    worker.await_ready();
    client.assert_outcomes(2_000..2_030);
}

/// A queue for requests of `labour` that go on to it when the queue may be no longer than it is.
async fn park(client: &Client, name: &str) {
    let mut arguments = FieldTable::default();
    for (key, value) in [
        ("x-dead-letter-exchange", "inferq"),
        ("x-dead-letter-routing-key", "labour"),
    ] {
        arguments.insert(key.into(), AMQPValue::LongString(value.into()));
    }
    let (channel, options) = (&client.channel, QueueDeclareOptions::default());
    let declaring = channel.queue_declare(name.into(), options, arguments);
    declaring.await.unwrap();
    let (exchange, options) = ("inferq".into(), QueueBindOptions::default());
    let binding = channel.queue_bind(name.into(), exchange, name.into(), options, <_>::default());
    binding.await.unwrap();
}

/// Acknowledgements are held while a quiesce waits for the credit to be filled, and whoever is to run alone waits too.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_does_not_wait_until_a_trickle_has_filled_a_large_credit() {
    let (url, packages) = (vhost(), labour());
    let worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    let queue = |of: &str| {
        let status = worker.status();
        let mut queues = status["broker"]["queues"].as_array().unwrap().iter();
        let queue = queues.find(|queue| queue["queue"] == "inferq.labour");
        usize::try_from(queue.unwrap()[of].as_u64().unwrap()).unwrap()
    };
    let mut sent = 0;
    while queue("credit") < 500 {
        assert!(sent < 50_000, "{}", worker.status());
        client
            .send_all("labour", numbered(sent..sent + 5_000, 1))
            .await;
        sent += 5_000;
        client.until_answered(sent).await;
    }
    worker.await_that("done with that", |_| queue("in_hand") == 0);

    let credit = queue("credit");
    worker.signal("STOP");
    let next = sent + credit;
    client.send_all("labour", numbered(sent..next, 1)).await;
    client.until_ready("inferq.labour", 0).await;
    client.send_all("labour", numbered(next..next + 1, 1)).await;
    client.until_ready("inferq.labour", 1).await;
    for _ in 0..2 {
        let options = BasicRejectOptions { requeue: true };
        let suspect = client.get("inferq.labour").await.unwrap();
        suspect.reject(options).await.unwrap();
        client.until_ready("inferq.labour", 1).await;
    }
    let (connection, _) = super::connect(&url).await.unwrap();
    let trickle = tokio::spawn(async move {
        let channel = super::confirming(&connection).await;
        let mut beat = tokio::time::interval(Duration::from_millis(150));
        for id in next + 1.. {
            beat.tick().await;
            super::publish(&channel, "labour", numbered(id..id + 1, 1)).await;
        }
    });
    worker.signal("CONT");
    let (start, suspect) = (Instant::now(), next.to_string());
    while !client.answers.contains_key(&suspect) {
        client.next().await;
    }
    let took = start.elapsed();
    trickle.abort();
    eprintln!("answered after {took:?} at a credit of {credit}");
    // It is set apart, for a second, and waits twice for what is in hand, 2 s at most: not for a credit of minutes.
    assert!(took < Duration::from_secs(10), "{took:?}");
}
