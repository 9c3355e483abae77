use super::*;
use inferq::broker::PublishFault;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

fn to(exchange: &str, key: &str, body: impl Into<Bytes>) -> Publication {
    Publication {
        exchange: exchange.to_owned(),
        routing_key: key.to_owned(),
        ..request("", body)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unroutable_publications_are_told_from_their_neighbours() {
    let (broker, package) = broker("unroutable").await;
    let publisher = broker.publisher();
    let publications = (0..2_000).map(|number| {
        let routed = number % 7 != 0;
        let key = if routed {
            names::queue_of(&package)
        } else {
            format!("nowhere-{}", number % 3)
        };
        // equal bodies too: what a message is, not its number, tells whose return it is
        let publication = to("", &key, (number % 50).to_string());
        let publisher = publisher.clone();
        async move { (routed, publisher.publish(publication).await) }
    });
    for (routed, outcome) in futures::future::join_all(publications).await {
        match outcome {
            Ok(()) => assert!(routed),
            Err(PublishFault::Unroutable { .. }) => assert!(!routed),
            Err(other) => panic!("{other}"),
        }
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mandatory_nobody_needs_to_take_it() {
    let (broker, _) = broker("optional").await;
    let mut publication = to("", "nowhere", "x");
    publication.mandatory = false;
    broker.publisher().publish(publication).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_breaks_its_channel_is_refused_and_its_neighbours_are_not() {
    let (broker, package) = broker("breaking").await;
    let publisher = broker.publisher();
    let publications = (0..200).map(|number| {
        let bad = number == 77 || number == 150;
        let exchange = if bad {
            "no-such-exchange"
        } else {
            names::EXCHANGE
        };
        let publication = to(exchange, &package, number.to_string());
        let publisher = publisher.clone();
        async move { (bad, publisher.publish(publication).await) }
    });
    for (bad, outcome) in futures::future::join_all(publications).await {
        match outcome {
            Ok(()) => assert!(!bad),
            Err(PublishFault::Refused { reason }) => assert!(bad, "{reason}"),
            Err(other) => panic!("{other}"),
        }
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_is_nacked_for_long_is_refused() {
    let (broker, _) = broker("full").await;
    let (_connection, channel) = client(Node::shared()).await;
    let queue = fresh("full");
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
    arguments.insert(
        "x-overflow".into(),
        AMQPValue::LongString("reject-publish".into()),
    );
    channel
        .queue_declare(
            queue.as_str().into(),
            QueueDeclareOptions::default(),
            arguments,
        )
        .await
        .unwrap();
    let outcome = broker.publisher().publish(to("", &queue, "x")).await;
    assert!(
        matches!(outcome, Err(PublishFault::Refused { .. })),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_published_when_the_broker_closes_fails_as_closed() {
    let broker = Broker::start(config("amqp://127.0.0.1:1"));
    let publisher = broker.publisher();
    let waiting = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish(to("", "x", "x")).await }
    });
    until("waiting", || publisher.waiting() == 1).await;
    assert!(broker.health().publishing.reason.is_some());
    broker.close().await;
    assert_eq!(waiting.await.unwrap(), Err(PublishFault::Closed));
    let outcome = publisher.publish(to("", "x", "x")).await;
    assert_eq!(outcome, Err(PublishFault::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_dead_letter_of_a_package_makes_their_queue() {
    let (broker, package) = broker("letters").await;
    for _ in 0..2 {
        let properties = Properties::default().with_header("inferq-reason", "poison");
        broker
            .dead_letter(&package, Bytes::from("{}"), properties)
            .await
            .unwrap();
    }
    let (_connection, channel) = client(Node::shared()).await;
    assert_eq!(ready(&channel, &names::dead_queue_of(&package)).await, 2);
    broker.close().await;
}
