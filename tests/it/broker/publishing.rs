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
async fn a_publication_that_breaks_its_connection_is_refused_and_its_neighbours_are_not() {
    let (broker, package) = broker("fatal").await;
    let publisher = broker.publisher();
    let publications = (0..200).map(|number| {
        // The first is a crash of RabbitMQ 3.10, the second a frame beyond its limit.
        let publication = match number {
            77 => Publication {
                mandatory: false,
                ..to("", "amq.rabbitmq.reply-to.x.y", "x")
            },
            150 => {
                let mut publication = to(names::EXCHANGE, &package, "x");
                let header = "x".repeat(140_000);
                let properties = publication.properties.to_properties();
                publication.properties = properties.with_header("big", header).into();
                publication
            }
            _ => to(names::EXCHANGE, &package, number.to_string()),
        };
        let publisher = publisher.clone();
        async move { (number, publisher.publish(publication).await) }
    });
    for (number, outcome) in futures::future::join_all(publications).await {
        match outcome {
            Ok(()) => assert!(number != 150),
            // Later brokers swallow what no requester can have asked for.
            Err(PublishFault::Refused { reason }) => {
                assert!([77, 150].contains(&number), "{reason}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(broker.health().publishing.reconnects >= 2);
    broker.close().await;
}

/// A queue that takes nothing.
async fn full_queue(channel: &lapin::Channel) -> String {
    let queue = fresh("full");
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
    arguments.insert(
        "x-overflow".into(),
        AMQPValue::LongString("reject-publish".into()),
    );
    let options = QueueDeclareOptions::default();
    let declaring = channel.queue_declare(queue.as_str().into(), options, arguments);
    declaring.await.unwrap();
    queue
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_takes_nothing_costs_its_first_publication_10_s_the_next_one_try_and_others_nothing()
 {
    let (broker, package) = broker("full").await;
    let (_connection, channel) = client(Node::shared()).await;
    let queue = full_queue(&channel).await;
    let publisher = broker.publisher();
    let (first, to_full) = (publisher.clone(), to("", &queue, "x"));
    let first = tokio::spawn(async move { first.publish(to_full).await });
    until("sick", || publisher.sick() == 1).await;
    let start = Instant::now();
    for number in 0..100 {
        let publication = to(names::EXCHANGE, &package, number.to_string());
        publisher.publish(publication).await.unwrap();
    }
    let others = start.elapsed();
    let outcome = first.await.unwrap();
    assert!(
        matches!(outcome, Err(PublishFault::Refused { .. })),
        "{outcome:?}"
    );
    let start = Instant::now();
    let outcome = publisher.publish(to("", &queue, "x")).await;
    let next = start.elapsed();
    assert!(
        matches!(outcome, Err(PublishFault::Refused { .. })),
        "{outcome:?}"
    );
    eprintln!("100 others took {others:?}, the next to the full queue {next:?}");
    assert!(others < Duration::from_secs(5) && next < Duration::from_secs(5));
    broker.close().await;
}

/// A quorum queue as it is without its majority.
async fn silent_queue(
    node: &Node,
    channel: &lapin::Channel,
    publisher: &inferq::broker::Publisher,
) -> String {
    let queue = fresh("silent");
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declaring = channel.queue_declare(queue.as_str().into(), options, arguments);
    declaring.await.unwrap();
    // RabbitMQ's channel makes itself known to a quorum queue with its first publication, and stands still meanwhile.
    publisher.publish(to("", &queue, "first")).await.unwrap();
    node.ctl(&["eval", &format!("sys:suspend('%2F_{queue}').")]);
    queue
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_wait_for_a_queue_which_confirms_nothing_leave_channels_to_others() {
    let node = Node::start();
    // Of one message each: no window has both.
    let small = Config {
        window: 1,
        publisher_channels: 64,
        ..config(&node.url())
    };
    let (broker, package) = established(small, "beside").await;
    let (_connection, channel) = client(&node).await;
    let publisher = broker.publisher();
    let queue = silent_queue(&node, &channel, &publisher).await;
    let silent: Vec<_> = (0..40)
        .map(|number| publisher.publish(to("", &queue, number.to_string())))
        .collect();
    for number in 0..10 {
        let other = to(names::EXCHANGE, &package, number.to_string());
        publisher.publish(other).await.unwrap();
    }
    assert_eq!(publisher.sick(), 0, "the first windows still wait");
    assert!(publisher.waiting() >= 40);
    node.ctl(&["eval", &format!("sys:resume('%2F_{queue}').")]);
    for outcome in futures::future::join_all(silent).await {
        outcome.unwrap();
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_confirms_nothing_stalls_nobody_else_and_what_was_for_it_is_refused() {
    let node = Node::start();
    let one = Config {
        publisher_channels: 1,
        ..config(&node.url())
    };
    let (broker, package) = established(one, "silent").await;
    let (_connection, channel) = client(&node).await;
    let publisher = broker.publisher();
    let queue = silent_queue(&node, &channel, &publisher).await;
    let first = to(names::EXCHANGE, &package, "first");
    publisher.publish(first).await.unwrap();
    let publications = (0..400).map(|number| {
        let silent = number % 2 == 0;
        let publication = if silent {
            to("", &queue, number.to_string())
        } else {
            to(names::EXCHANGE, &package, number.to_string())
        };
        let publisher = publisher.clone();
        async move { (silent, publisher.publish(publication).await) }
    });
    let start = Instant::now();
    for (silent, outcome) in futures::future::join_all(publications).await {
        match outcome {
            Ok(()) => assert!(!silent),
            Err(PublishFault::Refused { reason }) => assert!(silent, "{reason}"),
            Err(other) => panic!("{other}"),
        }
    }
    eprintln!(
        "200 to a silent queue were refused in {:?}",
        start.elapsed()
    );
    assert!(start.elapsed() < Duration::from_secs(30));
    let others = ready(&channel, &names::queue_of(&package)).await;
    assert_eq!(others, 201, "each once, though its window met a silent one");
    node.ctl(&["eval", &format!("sys:resume('%2F_{queue}').")]);
    publisher.publish(to("", &queue, "again")).await.unwrap();
    assert_eq!(publisher.sick(), 0);
    broker.close().await;
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
            .dead_letter("inferq.queue", &package, Bytes::from("{}"), properties)
            .await
            .unwrap();
    }
    let (_connection, channel) = client(Node::shared()).await;
    assert_eq!(ready(&channel, &names::dead_queue_of(&package)).await, 2);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_is_queued_before_anybody_awaits_it() {
    let broker = Broker::start(config("amqp://127.0.0.1:1"));
    let publisher = broker.publisher();
    let unpolled = publisher.publish(to("", "somewhere", "x"));
    assert_eq!(publisher.waiting(), 1);
    broker.close().await;
    assert_eq!(unpolled.await, Err(PublishFault::Closed));
}
