//! Workers leave amid the load.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lapin::{Connection, ConnectionProperties};

use super::{
    BOUND, Client, confirming, delivery_count, labour, numbered, packages::set_limit, publish,
};
use crate::{
    redis::Redis,
    worker::{Worker, vhost},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_stop_under_load_finishes_what_it_has_and_leaves_the_rest_uncounted() {
    const COUNT: usize = 20_000;
    let (url, packages) = (vhost(), labour());
    let mut worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    worker.signal("STOP");
    client.send_all("labour", numbered(0..COUNT, 2_000)).await;
    worker.signal("CONT");
    client.until_answered(COUNT / 5).await;
    let start = Instant::now();
    worker.signal("TERM");
    let status = worker.wait();
    let took = start.elapsed();
    assert_eq!(status.code(), Some(0), "{}", worker.log());
    client.take_rest().await;
    client.until_left("inferq.labour").await;
    let left = client.drain("inferq.labour").await;
    eprintln!(
        "answered {}, left {}, duplicated {}, drained in {took:?}",
        client.answers.len(),
        left.len(),
        client.duplicates()
    );
    assert!(!left.is_empty(), "the load ended before the worker did");
    for message in &left {
        assert_eq!(delivery_count(message), 0);
    }
    assert_eq!(client.answers.len() + left.len(), COUNT);
    assert_eq!(client.duplicates(), 0);
    let answered: Vec<usize> = client
        .answers
        .keys()
        .map(|id| id.parse().unwrap())
        .collect();
    client.assert_outcomes(answered);
    assert!(took < Duration::from_secs(25), "{took:?}");
}

/// A producer at a steady rate.
struct Load {
    over: Arc<AtomicBool>,
    producing: tokio::task::JoinHandle<usize>,
}

impl Load {
    /// So many requests a tick, numbered from 0.
    fn start(url: &str, each: usize) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let (to, until) = (url.to_owned(), Arc::clone(&over));
        let producing = tokio::spawn(async move {
            let properties = ConnectionProperties::default();
            let connection = Connection::connect(&to, properties).await.unwrap();
            let channel = confirming(&connection).await;
            let mut count = 0;
            while !until.load(Ordering::Relaxed) {
                publish(&channel, "labour", numbered(count..count + each, 20)).await;
                count += each;
                super::tick().await;
            }
            count
        });
        Load { over, producing }
    }

    /// How many there were.
    async fn stop(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let produced = tokio::time::timeout(BOUND, self.producing).await;
        produced.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_stop_under_a_light_load_that_goes_on_leaves_within_seconds() {
    let (url, packages) = (vhost(), labour());
    let mut worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    // Long enough for a credit that grows with every window to be worth eight seconds of this load.
    let load = Load::start(&url, 3);
    client.until_answered(600).await;
    let start = Instant::now();
    worker.signal("TERM");
    assert_eq!(worker.wait().code(), Some(0), "{}", worker.log());
    let took = start.elapsed();
    let count = load.stop().await;
    client.take_rest().await;
    client.until_left("inferq.labour").await;
    let left = client.drain("inferq.labour").await;
    eprintln!("{count} requests, left {}, drained in {took:?}", left.len());
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(left.iter().all(|message| delivery_count(message) == 0));
    assert_eq!(
        (client.answers.len() + left.len(), client.duplicates()),
        (count, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_drain_does_not_finish_in_time_goes_back_and_is_another_workers_to_answer() {
    const COUNT: usize = 40;
    let (url, packages, redis) = (vhost(), labour(), Redis::start());
    let store = redis.url();
    let environment = [
        ("INFERQ__INTAKE__DRAIN_TIMEOUT_S", "1"),
        // With a try left, a fault would be a retry.
        ("INFERQ__INTAKE__RETRY_DELAYS_MS", "[]"),
        ("INFERQ__DUPLICATES__URL", store.as_str()),
        ("INFERQ__DUPLICATES__TIMEOUT_MS", "5000"),
    ];
    let mut worker = Worker::spawn(&url, packages.path(), &environment);
    worker.await_ready();
    let mut client = Client::connect(&url).await;
    client.send_all("labour", numbered(0..COUNT, 1)).await;
    client.until_answered(COUNT).await;
    // By now there is credit for one that runs and for some that wait behind it.
    let endless = numbered(COUNT..COUNT + 1, 1 << 50);
    client.send_all("labour", endless).await;
    let (running, waiting) = ("running_batches", "waiting_rows");
    let package = |worker: &Worker, key: &str| worker.status()["packages"][0][key].as_u64();
    worker.await_that("busy", |worker| package(worker, running) == Some(1));
    let behind = numbered(COUNT + 1..2 * COUNT, 1);
    client.send_all("labour", behind).await;
    worker.await_that("given more", |worker| package(worker, waiting) > Some(0));
    let start = Instant::now();
    worker.signal("TERM");
    let status = worker.wait();
    let took = start.elapsed();
    eprintln!("{status} after {took:?}");
    assert_eq!(status.code(), Some(0), "{}", worker.log());
    // A run may take 30 s.
    assert!(took < Duration::from_secs(10), "it ran on: {took:?}");
    client.until_ready("inferq.labour", COUNT as u32).await;
    client.take_rest().await;
    assert_eq!(client.answers.len(), COUNT);

    let packages = labour();
    set_limit(&packages, "labour", "run_ms = 500");
    let worker = Worker::spawn(&url, packages.path(), &environment);
    worker.await_ready();
    client.until_answered(2 * COUNT).await;
    assert_eq!(client.answer(&COUNT.to_string()).code(), "model_fault");
    client.assert_outcomes(COUNT + 1..2 * COUNT);
    assert_eq!(client.duplicates(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once_and_the_broker_keeps_what_was_in_hand() {
    let (url, packages) = (vhost(), labour());
    let mut worker = Worker::start(&url, packages.path());
    let client = Client::connect(&url).await;
    client.send_all("labour", numbered(0..1, 1 << 50)).await;
    worker.await_that("busy", |worker| {
        worker.status()["packages"][0]["running_batches"] == 1
    });
    worker.signal("TERM");
    worker.await_that("draining", |worker| {
        worker
            .get("/readyz")
            .is_some_and(|(code, text)| code == 503 && text.contains("draining"))
    });
    let start = Instant::now();
    worker.signal("TERM");
    let status = worker.wait();
    eprintln!("{status}, {:?} after the second signal", start.elapsed());
    assert_eq!(status.code(), Some(70), "{}", worker.log());
    assert!(start.elapsed() < Duration::from_secs(5));
    client.until_ready("inferq.labour", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_three_workers_under_load_loses_nothing_and_scores_nothing_twice() {
    let (url, packages) = (vhost(), labour());
    let name = format!("scored-{}.log", std::process::id());
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let environment = [("INFERQ_SCORED_LOG", log.to_str().unwrap())];
    let start = || {
        let worker = Worker::spawn(&url, packages.path(), &environment);
        worker.await_ready();
        worker
    };
    let mut workers = [start(), start(), start()];
    let mut client = Client::connect(&url).await;
    let load = Load::start(&url, 10);
    let mut answered = 0;
    for worker in &mut workers {
        answered += 200;
        client.until_answered(answered).await;
        worker.signal("TERM");
        assert_eq!(worker.wait().code(), Some(0), "{}", worker.log());
        *worker = start();
        answered = client.answers.len();
    }
    client.until_answered(answered + 200).await;
    let count = load.stop().await;
    client.until_answered(count).await;
    client.take_rest().await;
    eprintln!("{count} requests, duplicated {}", client.duplicates());
    assert_eq!((client.answers.len(), client.duplicates()), (count, 0));
    client.assert_outcomes(0..count);
    // Only workers with fail points keep the log.
    if cfg!(feature = "failpoints") {
        let scored = std::fs::read_to_string(&log).unwrap();
        let names = scored.lines().filter_map(|line| line.split(' ').next());
        let each: BTreeSet<&str> = names.collect();
        assert_eq!((scored.lines().count(), each.len()), (count, count));
        std::fs::remove_file(&log).unwrap();
    }
}
