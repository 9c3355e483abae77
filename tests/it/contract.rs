//! The wire contract, held by clients that nobody here wrote (`tests/clients/`) against a worker process.

mod bad_bodies;
mod bad_input;
mod bad_pictures;
mod bad_properties;
mod case;
mod clients;
mod packages;
mod pictures;
mod raw_input;
mod rejections;
mod reply;
mod replying;
mod round_trips;
mod scaling;

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use futures::StreamExt;
use lapin::{
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions,
        QueueDeclareOptions,
    },
    types::FieldTable,
};
use serde_json::Value;

use crate::{
    node::Node,
    worker::{BOUND, Worker},
};

/// A file of the samples.
fn sample(file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/samples");
    std::fs::read(path.join(file)).unwrap()
}

/// A payment that is `not_fraud`.
fn payment() -> Value {
    serde_json::from_slice(&sample("fraud/not-fraud-1.json")).unwrap()
}

/// The virtual host of a URL that `worker::vhost` made.
fn vhost_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// Every queue of a virtual host with its messages, ready and unacknowledged.
fn queues(url: &str) -> Vec<(String, u64)> {
    let listed = Node::shared().ctl(&["list_queues", "-p", vhost_of(url), "name", "messages"]);
    let rows = listed.lines().filter_map(|line| line.split_once('\t'));
    let counted = rows.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
    counted.collect()
}

/// Nothing in hand, nothing left in a queue but the dead letters, and the worker well.
fn assert_at_rest(worker: &Worker, url: &str) {
    worker.await_that("at rest", |worker| in_hand(&worker.status()) == 0);
    for page in ["/livez", "/readyz"] {
        let (code, why) = worker.get(page).unwrap();
        assert_eq!(code, 200, "{page}: {why}");
    }
    assert_eq!(reconnects(&worker.status()), 0, "{}", worker.log());
    let left = |(name, count): &(String, u64)| *count > 0 && !name.starts_with("inferq.dead.");
    // The broker counts a little later than it acts.
    worker.await_that("done with its queues", |_| !queues(url).iter().any(left));
}

fn in_hand(status: &Value) -> u64 {
    let queues = status["broker"]["queues"].as_array().unwrap();
    queues.iter().map(|q| q["in_hand"].as_u64().unwrap()).sum()
}

fn reconnects(status: &Value) -> u64 {
    let of = |link: &str| status["broker"][link]["reconnects"].as_u64().unwrap();
    of("consuming") + of("publishing")
}

/// A plain client on a worker's virtual host, to arrange and to look.
async fn client(url: &str) -> lapin::Channel {
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(url, properties).await.unwrap();
    connection.create_channel().await.unwrap()
}

/// A queue for replies that outlives whoever waits on it.
async fn reply_queue(channel: &lapin::Channel, name: &str) {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(name.into(), options, FieldTable::default());
    declared.await.unwrap();
}

/// Takes `count` messages out of a queue that will get them, and no more.
async fn take(
    channel: &lapin::Channel,
    queue: &str,
    count: usize,
) -> Vec<lapin::message::Delivery> {
    static TAGS: AtomicU32 = AtomicU32::new(0);
    let tag = format!("take-{}", TAGS.fetch_add(1, Ordering::Relaxed));
    let prefetch = u16::try_from(count).unwrap();
    let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
    qos.await.unwrap();
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue.into(), tag.as_str().into(), options, arguments);
    let mut consumer = consumer.await.unwrap();
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = tokio::time::timeout(BOUND, consumer.next()).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {count} in {queue}", taken.len()));
        taken.push(next.unwrap().unwrap());
    }
    // Acknowledged only now: the prefetch keeps everything beyond `count` in the queue.
    if let Some(last) = taken.last() {
        let all = BasicAckOptions { multiple: true };
        let acked = channel.basic_ack(last.delivery_tag, all).await;
        acked.unwrap();
    }
    let cancelled = channel.basic_cancel(tag.as_str().into(), BasicCancelOptions::default());
    cancelled.await.unwrap();
    taken
}

/// A text header of a message.
fn header(message: &lapin::message::Delivery, key: &str) -> Option<String> {
    let headers = message.properties.headers().as_ref()?;
    let text = headers.inner().get(key)?.as_long_string()?;
    Some(text.to_string())
}

/// Reasons of the first `count` dead letters of a package.
async fn dead_letters(url: &str, package: &str, count: usize) -> Vec<String> {
    let queue = format!("inferq.dead.{package}");
    // It is made for its first letter, and RabbitMQ 3.10 fails whoever consumes it while it is being made.
    let start = std::time::Instant::now();
    let has_some = |(name, letters): &(String, u64)| *name == queue && *letters > 0;
    while !queues(url).iter().any(has_some) {
        assert!(start.elapsed() < BOUND, "nothing is in {queue}");
    }
    let channel = client(url).await;
    let letters = take(&channel, &queue, count).await;
    let mut reasons: Vec<_> = letters
        .iter()
        .map(|letter| header(letter, "inferq-reason").unwrap_or_default())
        .collect();
    reasons.sort_unstable();
    reasons
}
