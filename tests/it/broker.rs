//! The broker's side against real nodes.

mod connecting;
mod consuming;
mod encrypted;
mod publishing;
mod requesters;
mod screening;
mod slow_disk;
mod topology;

use crate::faults::tick;
use crate::node::Node;
use bytes::Bytes;
use inferq::broker::{
    Broker, Config, ConsumeOptions, ConsumerHandle, Delivery, PackageQueues, Properties,
    Publication, Topology, topology as names,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// No test waits longer for anything.
const BOUND: Duration = Duration::from_secs(60);

fn config(url: &str) -> Config {
    Config {
        url: url.to_owned().into(),
        ..Config::default()
    }
}

/// A name no other test has: a queue that is deleted and declared again marks deliveries as redelivered.
fn fresh(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn packages(names: &[&str]) -> Topology {
    let package = |name: &&str| PackageQueues {
        name: (*name).to_owned(),
        high: false,
    };
    Topology {
        packages: names.iter().map(package).collect(),
        retry_ms: Vec::new(),
    }
}

/// A broker on the shared node and a package of its own.
async fn broker(name: &str) -> (Broker, String) {
    broker_on(Node::shared(), name).await
}

async fn broker_on(node: &Node, name: &str) -> (Broker, String) {
    established(config(&node.url()), name).await
}

async fn established(config: Config, name: &str) -> (Broker, String) {
    let broker = Broker::start(config);
    let package = fresh(name);
    broker.establish(&packages(&[&package])).await.unwrap();
    (broker, package)
}

fn request(package: &str, body: impl Into<Bytes>) -> Publication {
    Publication {
        exchange: names::EXCHANGE.to_owned(),
        routing_key: package.to_owned(),
        body: body.into(),
        properties: Properties::default().persistent().into(),
        mandatory: true,
    }
}

/// Publishes `count` numbered requests and awaits their confirms.
async fn publish_all(broker: &Broker, package: &str, count: usize) {
    let publisher = broker.publisher();
    let all = (0..count).map(|number| publisher.publish(request(package, number.to_string())));
    for outcome in futures::future::join_all(all).await {
        outcome.unwrap();
    }
}

/// Consumes into a channel.
fn consume(
    broker: &Broker,
    queue: &str,
    prefetch_max: u16,
) -> (ConsumerHandle, mpsc::UnboundedReceiver<Delivery>) {
    let options = ConsumeOptions {
        prefetch_max,
        ..ConsumeOptions::default()
    };
    consume_as(broker, queue, options)
}

fn consume_as(
    broker: &Broker,
    queue: &str,
    options: ConsumeOptions,
) -> (ConsumerHandle, mpsc::UnboundedReceiver<Delivery>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let handler = Arc::new(move |delivery: Box<Delivery>| {
        // a test that is over lets the rest go
        let _ = sender.send(*delivery);
    });
    let handle = broker.consume(queue, options, handler);
    (handle, receiver)
}

async fn next(deliveries: &mut mpsc::UnboundedReceiver<Delivery>) -> Delivery {
    let next = tokio::time::timeout(BOUND, deliveries.recv()).await;
    next.expect("a delivery in time").expect("a consumer")
}

fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.body)
        .unwrap()
        .parse()
        .unwrap()
}

/// Waits for a condition, with a bound.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < BOUND, "in vain: {what}");
        tick().await;
    }
}

/// A plain client beside, to arrange and to look.
async fn client(node: &Node) -> (lapin::Connection, lapin::Channel) {
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(&node.url(), properties)
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// Messages ready in a queue.
async fn ready(channel: &lapin::Channel, queue: &str) -> u32 {
    look(channel, queue).await.message_count()
}

/// Consumers of a queue, and those cancelled with something unsettled.
async fn consumers(channel: &lapin::Channel, queue: &str) -> u32 {
    look(channel, queue).await.consumer_count()
}

async fn look(channel: &lapin::Channel, queue: &str) -> lapin::Queue {
    let options = lapin::options::QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let queue = channel
        .queue_declare(queue.into(), options, lapin::types::FieldTable::default())
        .await;
    queue.unwrap()
}
