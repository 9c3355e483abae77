use super::*;
use crate::worker::vhost;
use inferq::broker::TopologyMode;
use lapin::options::{ExchangeDeleteOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

fn topology(package: &str) -> Topology {
    let mut topology = packages(&[package]);
    topology.packages[0].high = true;
    topology.retry_ms = vec![500];
    topology
}

#[tokio::test(flavor = "multi_thread")]
async fn declaring_twice_is_declaring_once() {
    let (broker, package) = broker("twice").await;
    for _ in 0..2 {
        broker.establish(&topology(&package)).await.unwrap();
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_named_with_what_differs_and_the_mend() {
    let (broker, _) = broker("differs").await;
    let package = fresh("differs");
    let (_connection, channel) = client(Node::shared()).await;
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let queue = names::queue_of(&package);
    channel
        .queue_declare(queue.as_str().into(), options, FieldTable::default())
        .await
        .unwrap();
    let fault = broker.establish(&topology(&package)).await.unwrap_err();
    let text = fault.to_string();
    assert!(
        text.contains(&queue) && text.contains("inequivalent arg"),
        "{text}"
    );
    assert!(text.contains("delete it"), "{text}");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exported_definitions_are_all_that_passive_mode_asks_for() {
    let node = Node::shared();
    let mut config = config(&node.url());
    config.topology = TopologyMode::Passive;
    let broker = Broker::start(config);
    let topology = topology(&fresh("exported"));
    let fault = broker.establish(&topology).await.unwrap_err();
    assert!(fault.to_string().contains("import_definitions"), "{fault}");
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(fresh("definitions"));
    std::fs::write(&file, topology.export("/").to_string()).unwrap();
    node.ctl(&["import_definitions", file.to_str().unwrap()]);
    broker.establish(&topology).await.unwrap();
    // and it is what declaring makes
    let other = Broker::start(super::config(&node.url()));
    other.establish(&topology).await.unwrap();
    std::fs::remove_file(file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_a_retry_queue_comes_back_to_its_package() {
    let (broker, package) = broker("retry").await;
    broker.establish(&topology(&package)).await.unwrap();
    let mut publication = request(&package, "1");
    publication.exchange = names::retry_queue(500);
    broker.publisher().publish(publication).await.unwrap();
    let (_handle, mut deliveries) = consume(&broker, &names::queue_of(&package), 4);
    let delivery = next(&mut deliveries).await;
    let deaths = delivery.properties.deaths();
    assert_eq!(deaths[0].queue, names::retry_queue(500));
    assert_eq!((deaths[0].reason.as_str(), deaths[0].count), ("expired", 1));
    assert!(delivery.properties.kept().deaths().is_empty());
    delivery.receipt.ack();
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_in_a_queue_is_found_among_the_died_with_its_reason() {
    let (broker, package) = broker("expires").await;
    let mut publication = request(&package, "expired-one");
    publication.properties = publication
        .properties
        .to_properties()
        .with_expiration("1")
        .into();
    broker.publisher().publish(publication).await.unwrap();
    let (_handle, mut deliveries) = consume(&broker, names::DIED, 4);
    let delivery = next(&mut deliveries).await;
    assert_eq!(&delivery.body[..], b"expired-one");
    assert_eq!(delivery.routing_key, package);
    assert_eq!(delivery.properties.deaths()[0].reason, "expired");
    delivery.receipt.ack();
    broker.close().await;
}

const PERIOD: Duration = Duration::from_millis(100);

async fn channel_on(url: &str) -> lapin::Channel {
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(url, properties).await.unwrap();
    connection.create_channel().await.unwrap()
}

async fn delete_exchange(channel: &lapin::Channel) {
    let options = ExchangeDeleteOptions::default();
    let deleting = channel.exchange_delete(names::EXCHANGE.into(), options);
    deleting.await.unwrap();
}

/// Publishes until a queue takes it.
async fn until_routed(broker: &Broker, package: &str) {
    let start = Instant::now();
    while let Err(fault) = broker.publisher().publish(request(package, "1")).await {
        assert!(start.elapsed() < BOUND, "{fault}");
        tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_or_a_binding_that_somebody_deletes_is_made_again() {
    let url = vhost();
    let broker = Broker::start(config(&url));
    let topology = topology("digits");
    broker.establish(&topology).await.unwrap();
    let channel = channel_on(&url).await;
    let story = async {
        delete_exchange(&channel).await;
        until_routed(&broker, "digits").await;
        let (queue, arguments) = (names::queue_of("digits"), FieldTable::default());
        let (exchange, key) = (names::EXCHANGE.into(), "digits".into());
        let unbinding = channel.queue_unbind(queue.as_str().into(), exchange, key, arguments);
        unbinding.await.unwrap();
        // what comes meanwhile is taken by the queue of the unknown
        let before = ready(&channel, &queue).await;
        let start = Instant::now();
        while ready(&channel, &queue).await == before {
            assert!(start.elapsed() < BOUND, "the binding stays away");
            until_routed(&broker, "digits").await;
        }
    };
    tokio::select! {
        () = broker.keep(&topology, PERIOD) => unreachable!(),
        () = story => {}
    }
    assert_eq!(broker.health().topology, None);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_declare_nothing_says_what_is_missing_until_it_is_there() {
    let url = vhost();
    let topology = topology("digits");
    let owner = Broker::start(config(&url));
    owner.declare(&topology).await.unwrap();
    let mut passive = config(&url);
    passive.topology = TopologyMode::Passive;
    let broker = Broker::start(passive);
    broker.establish(&topology).await.unwrap();
    assert_eq!(broker.health().topology, None);
    let channel = channel_on(&url).await;
    let story = async {
        delete_exchange(&channel).await;
        let lacking = || broker.health().topology;
        until("the exchange is missed", || lacking().is_some()).await;
        let text = lacking().unwrap();
        assert!(
            text.contains("exchange \"inferq\"") && text.contains("import_definitions"),
            "{text}"
        );
        owner.declare(&topology).await.unwrap();
        until("it is there again", || lacking().is_none()).await;
    };
    tokio::select! {
        () = broker.keep(&topology, PERIOD) => unreachable!(),
        () = story => {}
    }
    broker.close().await;
    owner.close().await;
}
