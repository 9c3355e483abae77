//! With the duplicate store: the same request, the same bytes, whatever breaks.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use lapin::{BasicProperties, options::BasicNackOptions, types::AMQPValue};
use serde_json::json;

use super::{
    BOUND, Client, Packages, labour, packages::set_limit, properties, request, tick, with_header,
};
use crate::{
    node::Node,
    redis::Redis,
    worker::{Worker, vhost},
};

/// Long enough for a machine that is busy with other tests.
const PATIENT: (&str, &str) = ("INFERQ__DUPLICATES__TIMEOUT_MS", "5000");
/// Keeps the model busy for some seconds.
const SLOW: u64 = 3_000_000;

fn worker(url: &str, packages: &Packages, store: &str, environment: &[(&str, &str)]) -> Worker {
    let store = [("INFERQ__DUPLICATES__URL", store), PATIENT];
    let worker = Worker::spawn(url, packages.path(), &[&store[..], environment].concat());
    worker.await_ready();
    worker
}

/// The request `id`, whose reply is to be told from others as `correlation_id`.
fn again(id: &str, correlation_id: &str) -> BasicProperties {
    properties(id).with_correlation_id(correlation_id.into())
}

/// A counter's value.
fn count(worker: &Worker, name: &str) -> u64 {
    worker.metric(name) as u64
}

fn rows(worker: &Worker) -> u64 {
    count(worker, "inferq_batch_rows_sum{package=\"labour\"")
}

/// Duplicates that were found before they were scored.
fn found(worker: &Worker) -> u64 {
    count(
        worker,
        "inferq_duplicates_total{found=\"before_scoring\",package=\"labour\"",
    )
}

fn answers(worker: &Worker) -> bool {
    worker.status()["duplicates"]["answers"] == true
}

fn busy(worker: &Worker) -> bool {
    worker.status()["packages"][0]["running_batches"] == 1
}

impl Client {
    /// Sends a request and takes its reply; how long that took.
    async fn ask(&mut self, properties: BasicProperties, x: usize) -> Duration {
        let (asked, count) = (Instant::now(), self.answers.len());
        self.send("labour", properties, &request(x, 1)).await;
        self.until_answered(count + 1).await;
        asked.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_again_gets_the_same_bytes_without_device_time_by_whatever_way_it_comes() {
    let (url, packages, redis) = (vhost(), labour(), Redis::start());
    // All that the README says a worker's user needs.
    let rules = "on >pass ~inferq:* +get +set +del +pttl +pexpire +eval +evalsha +script|load +ping +unwatch";
    let user: Vec<&str> = rules.split(' ').collect();
    assert_eq!(
        redis.command(&[&["ACL", "SETUSER", "worker"], &user[..]].concat()),
        "+OK\r\n"
    );
    let store = redis.url().replace("redis://", "redis://worker:pass@");
    let mut worker = worker(&url, &packages, &store, &[]);
    let mut client = Client::connect(&url).await;
    client.ask(again("one", "first"), 5).await;
    let first = client.answer("first").clone();
    assert_eq!((first.code(), &first.body["y"]), ("outcome", &json!(5)));
    assert_eq!(rows(&worker), 1);

    // Its timings are the first one's too: no second scoring has the same.
    client.ask(again("one", "second"), 5).await;
    assert_eq!(client.answer("second"), &first);
    // Too late to be scored, it is still not answered otherwise.
    let past = with_header(
        again("one", "late"),
        "inferq-deadline",
        AMQPValue::LongLongInt(1),
    );
    client.ask(past, 5).await;
    assert_eq!(client.answer("late"), &first);
    assert_eq!((rows(&worker), found(&worker)), (1, 2));

    // A rejection is as final.
    for name in ["no", "no again"] {
        client.send("labour", again("no", name), &json!([])).await;
    }
    client.until_answered(5).await;
    assert_eq!(client.answer("no").code(), "invalid_request");
    assert_eq!(client.answer("no again"), client.answer("no"));

    // The broker gave it up before a worker took it.
    assert_eq!(count(&worker, "inferq_duplicate_store_faults_total"), 0);
    worker.signal("TERM");
    assert!(worker.wait().success());
    let expired = again("one", "expired").with_expiration("1".into());
    client.send("labour", expired, &request(5, 1)).await;
    client.until_ready("inferq.died", 1).await;
    let worker = self::worker(&url, &packages, &store, &[]);
    client.until_answered(6).await;
    assert_eq!(client.answer("expired"), &first);
    let late = "inferq_duplicates_total{found=\"before_replying\",package=\"died\"}";
    assert_eq!(count(&worker, late), 1);
    assert_eq!((rows(&worker), client.duplicates()), (0, 0));
    assert_eq!(count(&worker, "inferq_duplicate_store_faults_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_id_with_another_body_is_another_request_and_counted() {
    let (url, packages, redis) = (vhost(), labour(), Redis::start());
    let worker = worker(&url, &packages, &redis.url(), &[]);
    let mut client = Client::connect(&url).await;
    for (name, x) in [("a", 1), ("b", 2), ("a again", 1), ("b again", 2)] {
        client.ask(again("same", name), x).await;
        assert_eq!(client.answer(name).body["y"], json!(x));
    }
    // A message without a name is nobody's duplicate.
    for name in ["n", "n again"] {
        let nameless = properties(name).with_correlation_id(name.into());
        let nameless = BasicProperties::default()
            .with_reply_to("replies".into())
            .with_correlation_id(nameless.correlation_id().clone().unwrap());
        client.ask(nameless, 3).await;
    }
    assert_eq!(
        count(
            &worker,
            "inferq_message_ids_reused_total{package=\"labour\""
        ),
        1
    );
    assert_eq!((rows(&worker), found(&worker)), (4, 2));
}

/// Closes the connections that workers of this virtual host consume on.
fn close_consuming(url: &str) {
    let vhost = url.rsplit('/').next().unwrap();
    let closing = format!(
        "[rabbit_networking:close_connection(P, \"a test\") || [{{pid, P}}, {{vhost, <<\"{vhost}\">>}}, \
         {{client_properties, C}}] <- rabbit_networking:connection_info_all([pid, vhost, client_properties]), \
         lists:member({{<<\"connection_name\">>, longstr, <<\"inferq consume\">>}}, C)]."
    );
    let closed = Node::shared().ctl(&["eval", &closing]);
    assert_eq!(closed.trim(), "[ok,ok]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_delivered_again_while_a_worker_has_it_waits_for_that_workers_reply() {
    let (url, packages, redis) = (vhost(), labour(), Redis::start());
    // The claim outlives its lease for as long as the work goes on.
    let lease = [("INFERQ__DUPLICATES__LEASE_S", "1")];
    let workers = [(); 2].map(|()| worker(&url, &packages, &redis.url(), &lease));
    let mut client = Client::connect(&url).await;
    let sent = Instant::now();
    client
        .send("labour", properties("slow"), &request(7, 3 * SLOW))
        .await;
    workers[0].await_that("busy, nor is the other", |_| workers.iter().any(busy));
    close_consuming(&url);
    assert!(
        workers.iter().any(busy),
        "scored too soon: {:?}",
        sent.elapsed()
    );
    while client.answers.get("slow").is_none_or(|all| all.len() < 2) {
        client.next().await;
    }
    eprintln!("both replies after {:?}", sent.elapsed());
    assert!(
        sent.elapsed() > Duration::from_millis(1_500),
        "no longer than the lease"
    );
    let all = &client.answers["slow"];
    assert_eq!((all[0].code(), &all[0].body["y"]), ("outcome", &json!(7)));
    assert!(all.iter().all(|answer| *answer == all[0]), "{all:?}");
    assert_eq!(workers.iter().map(rows).sum::<u64>(), 1);
    // Where the one worker has it again before the other's connection is closed, that is a third delivery.
    let found: u64 = workers.iter().map(found).sum();
    assert!((1..=2).contains(&found), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_had_is_scored_by_another_after_the_lease() {
    let (url, packages, redis) = (vhost(), labour(), Redis::start());
    let mut first = worker(&url, &packages, &redis.url(), &[]);
    let mut client = Client::connect(&url).await;
    client
        .send("labour", properties("orphan"), &request(7, SLOW))
        .await;
    first.await_that("busy", busy);
    let second = worker(&url, &packages, &redis.url(), &[]);
    let killed = Instant::now();
    first.signal("KILL");
    first.wait();
    second.await_that("busy", busy);
    eprintln!("taken over after {:?}", killed.elapsed());
    client.until_answered(1).await;
    assert_eq!(client.answer("orphan").body["y"], json!(7));
    assert_eq!(
        (rows(&second), found(&second), client.duplicates()),
        (1, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_to_be_tried_again_is_not_claimed_meanwhile() {
    let (url, old, redis) = (vhost(), labour(), Redis::start());
    let new = labour().with_labour("2.0.0");
    // A claim that was kept would be waited for.
    let settings = [
        ("INFERQ__DUPLICATES__LEASE_S", "300"),
        ("INFERQ__INTAKE__RETRY_DELAYS_MS", "[3000]"),
    ];
    let mut behind = worker(&url, &old, &redis.url(), &settings);
    let mut client = Client::connect(&url).await;
    let pin = AMQPValue::LongString("2.0.0".into());
    let pinned = with_header(properties("pinned"), "inferq-version", pin);
    client.send("labour", pinned, &request(5, 1)).await;
    behind.await_that("asked", |worker| {
        count(worker, "inferq_requests_total{package=\"labour\"") > 0
            && count(worker, "inferq_in_flight{package=\"labour\"") == 0
    });
    behind.signal("TERM");
    assert!(behind.wait().success());
    let _ahead = worker(&url, &new, &redis.url(), &settings);
    client.until_answered(1).await;
    assert_eq!(client.answer("pinned").version.as_deref(), Some("2.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_down_requests_are_answered_and_afterwards_it_is_used_again() {
    let (url, packages, mut redis) = (vhost(), labour(), Redis::start());
    let worker = worker(&url, &packages, &redis.url(), &[]);
    let mut client = Client::connect(&url).await;
    client.ask(properties("before"), 1).await;
    assert!(answers(&worker));
    redis.kill9();
    for id in 0..50 {
        client.ask(properties(&id.to_string()), id).await;
    }
    client.assert_outcomes(0..50);
    assert!(!answers(&worker));
    assert!(worker.status()["duplicates"]["reason"].is_string());
    assert_eq!(worker.get("/readyz").unwrap().0, 200);
    assert_eq!(count(&worker, "inferq_duplicate_store_up"), 0);
    let faults = count(&worker, "inferq_duplicate_store_faults_total");
    let skipped = count(&worker, "inferq_duplicate_store_skipped_total");
    assert!(
        faults >= 1 && skipped >= 50,
        "{faults} faults, {skipped} skipped"
    );

    redis.restart();
    used_again(&worker, &mut client).await;
    assert_eq!(count(&worker, "inferq_duplicate_store_up"), 1);
    let told = |text: &str| worker.log().matches(text).count();
    assert_eq!(
        told("going on without the duplicate store"),
        1,
        "{}",
        worker.log()
    );
    assert_eq!(
        told("the duplicate store answers again"),
        1,
        "{}",
        worker.log()
    );
}

/// Sends until the store is used again, and then one request twice.
async fn used_again(worker: &Worker, client: &mut Client) {
    let start = Instant::now();
    for probe in 0.. {
        if answers(worker) {
            break;
        }
        assert!(start.elapsed() < BOUND, "the store is not used again");
        client.ask(properties(&format!("probe-{probe}")), 1).await;
        tick().await;
    }
    let before = found(worker);
    client.ask(again("after", "after"), 9).await;
    client.ask(again("after", "after again"), 9).await;
    assert_eq!(client.answer("after again"), client.answer("after"));
    assert_eq!(found(worker) - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_says_nothing_costs_a_request_no_more_than_the_timeout() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let (url, packages, redis) = (vhost(), labour(), Redis::start());
    let timeout = [("INFERQ__DUPLICATES__TIMEOUT_MS", "3000")];
    let worker = worker(&url, &packages, &redis.url(), &timeout);
    let mut client = Client::connect(&url).await;
    client.ask(properties("before"), 1).await;
    redis.signal("STOP");
    let mut latencies = Vec::new();
    for id in 0..20 {
        latencies.push(client.ask(properties(&id.to_string()), id).await);
    }
    redis.signal("CONT");
    client.assert_outcomes(0..20);
    eprintln!("{latencies:?}");
    let most = latencies.iter().max().unwrap();
    assert!((TIMEOUT..TIMEOUT * 5 / 3).contains(most), "{latencies:?}");
    let waited = latencies.iter().filter(|latency| **latency >= TIMEOUT);
    assert!(waited.count() <= 3, "not each waits: {latencies:?}");
    assert!(count(&worker, "inferq_duplicate_store_faults_total") >= 1);
    used_again(&worker, &mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_sent_again_is_scored_again_and_not_answered_with_its_old_fault() {
    let (url, packages, redis) = (vhost(), labour(), Redis::start());
    set_limit(&packages, "labour", "run_ms = 300");
    let worker = worker(&url, &packages, &redis.url(), &[]);
    let mut client = Client::connect(&url).await;
    let (long, dead) = (request(5, 1 << 50), "inferq.dead.labour");
    client.send("labour", again("dead", "one"), &long).await;
    client.until_answered(1).await;
    client.until_ready(dead, 1).await;
    let mut replaying = Command::new(env!("CARGO_BIN_EXE_inferq"));
    replaying.args(["dead", "replay", "labour", "--broker-url", &url]);
    let replayed = replaying.output().unwrap();
    assert!(replayed.status.success(), "{replayed:?}");
    client.next().await;
    let [first, second] = &client.answers["one"][..] else {
        panic!("{:?}", client.answers)
    };
    assert_eq!(
        (first.code(), second.code()),
        ("model_fault", "model_fault")
    );
    assert_ne!(
        first.message_id, second.message_id,
        "dropped as a duplicate"
    );
    assert_eq!((rows(&worker), found(&worker)), (2, 0));
    // It died again, and is kept again.
    client.until_ready(dead, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_is_delivered_again_is_buried_again_and_one_that_is_asked_again_is_not() {
    let (url, packages, redis) = (vhost(), labour(), Redis::start());
    set_limit(&packages, "labour", "run_ms = 300");
    let mut first = worker(&url, &packages, &redis.url(), &[]);
    let mut client = Client::connect(&url).await;
    let (long, dead) = (request(5, 1 << 50), "inferq.dead.labour");
    client.send("labour", again("dead", "one"), &long).await;
    client.until_answered(1).await;
    client.until_ready(dead, 1).await;
    client.send("labour", again("dead", "two"), &long).await;
    client.until_answered(2).await;
    first.signal("TERM");
    assert!(first.wait().success());
    assert_eq!(client.ready(dead).await, 1);

    // As if a worker had died before it knew that there is a letter.
    client.send("labour", again("dead", "three"), &long).await;
    let delivery = client.get("inferq.labour").await.unwrap();
    let back = BasicNackOptions {
        requeue: true,
        ..BasicNackOptions::default()
    };
    delivery.nack(back).await.unwrap();
    let _second = worker(&url, &packages, &redis.url(), &[]);
    client.until_answered(3).await;
    for id in ["two", "three"] {
        assert_eq!(client.answer(id), client.answer("one"));
    }
    client.until_ready(dead, 2).await;
}
