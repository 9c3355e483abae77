use super::*;
use inferq::broker::{Demand, Wanted};
use lapin::options::{BasicGetOptions, BasicRejectOptions, QueueDeleteOptions};
use std::collections::VecDeque;
use std::sync::{Mutex, atomic::AtomicUsize};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_delivered_and_what_is_acknowledged_is_gone() {
    let (broker, package) = broker("round").await;
    let queue = names::queue_of(&package);
    let properties = Properties::default()
        .persistent()
        .with_correlation_id("c-1")
        .with_priority(3)
        .with_header("inferq-version", "2");
    let mut publication = request(&package, "{\"a\":1}");
    publication.properties = properties.into();
    broker.publisher().publish(publication).await.unwrap();
    let (handle, mut deliveries) = consume(&broker, &queue, 8);
    let delivery = next(&mut deliveries).await;
    assert_eq!(&delivery.body[..], b"{\"a\":1}");
    assert_eq!(delivery.properties.correlation_id(), Some("c-1"));
    assert_eq!(delivery.properties.priority(), Some(3));
    assert_eq!(
        (delivery.routing_key.as_str(), &*delivery.queue),
        (package.as_str(), queue.as_str())
    );
    assert_eq!(
        (
            delivery.redelivered,
            delivery.delivery_count,
            delivery.blemish
        ),
        (false, 0, None)
    );
    assert!(handle.health().oldest_unsettled_s.is_some());
    delivery.receipt.ack();
    handle.close().await;
    let (_connection, channel) = client(Node::shared()).await;
    assert_eq!(ready(&channel, &queue).await, 0);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_grows_to_its_most_and_draining_under_load_redelivers_nothing() {
    let (broker, package) = broker("drain").await;
    let queue = names::queue_of(&package);
    publish_all(&broker, &package, 6_000).await;
    let (handle, mut deliveries) = consume(&broker, &queue, 300);
    let mut handled = 0;
    // a handler that keeps a few in hand and settles out of order
    let mut in_hand = Vec::new();
    while handle.health().credit < 300 || handled < 3_000 {
        in_hand.push(next(&mut deliveries).await);
        if in_hand.len() == 40 || deliveries.is_empty() {
            for delivery in in_hand.drain(..).rev() {
                delivery.receipt.ack();
                handled += 1;
            }
        }
    }
    {
        let draining = handle.drain();
        tokio::pin!(draining);
        loop {
            tokio::select! {
                () = &mut draining => break,
                Some(delivery) = deliveries.recv() => delivery.receipt.ack(),
            }
        }
    }
    assert_eq!(handle.health().credit, 0);
    // receipts stay good after the drain
    in_hand
        .drain(..)
        .for_each(|delivery| delivery.receipt.ack());
    while let Ok(delivery) = deliveries.try_recv() {
        delivery.receipt.ack();
    }
    let taken = handle.health().delivered;
    assert_eq!(
        (handle.health().in_hand, handle.health().redelivered),
        (0, 0)
    );
    handle.close().await;
    let (handle, mut deliveries) = consume(&broker, &queue, 300);
    for _ in taken..6_000 {
        let delivery = next(&mut deliveries).await;
        assert!(!delivery.redelivered && delivery.delivery_count == 0);
        delivery.receipt.ack();
    }
    assert_eq!(handle.health().redelivered, 0);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_declared_and_consumed_again() {
    let (broker, package) = broker("deleted").await;
    let queue = names::queue_of(&package);
    let (handle, mut deliveries) = consume(&broker, &queue, 16);
    publish_all(&broker, &package, 100).await;
    for _ in 0..100 {
        next(&mut deliveries).await.receipt.ack();
    }
    let (_connection, channel) = client(Node::shared()).await;
    channel
        .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    // until it is back, requests go to inferq.unknown
    let publisher = broker.publisher();
    let direct = Publication {
        exchange: String::new(),
        routing_key: queue,
        ..request(&package, "7")
    };
    let start = Instant::now();
    while publisher.publish(direct.clone()).await.is_err() {
        assert!(start.elapsed() < BOUND);
    }
    assert_eq!(number(&next(&mut deliveries).await), 7);
    assert!(handle.health().subscribed);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspects_run_alone_and_their_neighbours_suffer_nothing() {
    let (broker, package) = broker("suspects").await;
    let queue = names::queue_of(&package);
    publish_all(&broker, &package, 300).await;
    let (handle, mut deliveries) = consume(&broker, &queue, 64);
    let (mut in_hand, mut done) = (Vec::new(), 0);
    let mut alone = 0;
    while done < 300 {
        let delivery = next(&mut deliveries).await;
        if delivery.delivery_count >= 2 {
            assert!(in_hand.is_empty(), "{} others in hand", in_hand.len());
            alone += 1;
            assert_eq!(
                (handle.health().in_hand, handle.health().credit <= 1),
                (1, true)
            );
            delivery.receipt.ack();
            done += 1;
            continue;
        }
        in_hand.push(delivery);
        if in_hand.len() >= 10 || deliveries.is_empty() {
            for delivery in in_hand.drain(..) {
                // each fiftieth fails until it is a suspect
                if number(&delivery).is_multiple_of(50) {
                    delivery.receipt.reject();
                } else {
                    assert!(!delivery.redelivered, "an innocent was given back");
                    delivery.receipt.ack();
                    done += 1;
                }
            }
        }
    }
    assert_eq!(alone, 6);
    until("all settled", || handle.health().in_hand == 0).await;
    broker.close().await;
}

/// Takes so many from the queue, unsettled.
async fn get_all(channel: &lapin::Channel, queue: &str, count: usize) -> Vec<u64> {
    let mut tags = Vec::new();
    while tags.len() < count {
        let got = channel.basic_get(queue.into(), BasicGetOptions::default());
        if let Some(message) = got.await.unwrap() {
            tags.push(message.delivery.delivery_tag);
        }
    }
    tags
}

async fn give_back(channel: &lapin::Channel, tags: Vec<u64>) {
    for tag in tags {
        let options = BasicRejectOptions { requeue: true };
        channel.basic_reject(tag, options).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_suspects_that_are_held_back() {
    const SUSPECTS: usize = 20;
    let (broker, package) = broker("held").await;
    let queue = names::queue_of(&package);
    let (_connection, channel) = client(Node::shared()).await;
    publish_all(&broker, &package, SUSPECTS).await;
    let once = get_all(&channel, &queue, SUSPECTS).await;
    give_back(&channel, once).await;
    let twice = get_all(&channel, &queue, SUSPECTS).await;
    let (handle, mut deliveries) = consume(&broker, &queue, 64);
    publish_all(&broker, &package, 500).await;
    for _ in 0..500 {
        next(&mut deliveries).await.receipt.ack();
    }
    assert_eq!(handle.health().credit, 64);
    give_back(&channel, twice).await;
    until("held", || handle.health().held == SUSPECTS - 1).await;
    let (mut alone, mut drained) = (0, false);
    {
        let draining = handle.drain();
        tokio::pin!(draining);
        while alone < SUSPECTS {
            let suspect = tokio::select! {
                () = &mut draining, if !drained => {
                    drained = true;
                    assert_eq!(handle.health().held, 0);
                    continue;
                }
                suspect = next(&mut deliveries) => suspect,
            };
            assert_eq!((suspect.delivery_count, handle.health().in_hand), (2, 1));
            suspect.receipt.ack();
            alone += 1;
        }
    }
    handle.drain().await;
    handle.close().await;
    assert_eq!(ready(&channel, &queue).await, 0);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_requeued_while_draining_comes_back_to_the_next_worker() {
    let (broker, package) = broker("requeue").await;
    let queue = names::queue_of(&package);
    publish_all(&broker, &package, 5).await;
    let (handle, mut deliveries) = consume(&broker, &queue, 8);
    let first = next(&mut deliveries).await;
    handle.drain().await;
    first.receipt.requeue();
    while let Ok(delivery) = deliveries.try_recv() {
        delivery.receipt.requeue();
    }
    handle.close().await;
    let (_handle, mut deliveries) = consume(&broker, &queue, 8);
    let mut numbers = Vec::new();
    for _ in 0..5 {
        let delivery = next(&mut deliveries).await;
        numbers.push(number(&delivery));
        delivery.receipt.ack();
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_yet_is_consumed_once_it_is() {
    let node = Node::shared();
    let mut config = config(&node.url());
    config.topology = inferq::broker::TopologyMode::Passive;
    let broker = Broker::start(config);
    let package = fresh("later");
    let (handle, mut deliveries) = consume(&broker, &names::queue_of(&package), 8);
    until("the reason is shown", || {
        let health = handle.health();
        !health.subscribed
            && health
                .reason
                .is_some_and(|reason| reason.contains("NOT_FOUND"))
    })
    .await;
    let other = Broker::start(super::config(&node.url()));
    other.establish(&packages(&[&package])).await.unwrap();
    publish_all(&other, &package, 1).await;
    next(&mut deliveries).await.receipt.ack();
    assert!(handle.health().subscribed && handle.health().reason.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_channel_is_exchanged_and_nothing_is_delivered_twice_for_it() {
    let (broker, package) = broker("idle").await;
    let queue = names::queue_of(&package);
    let options = ConsumeOptions {
        idle: Duration::from_millis(200),
        ..ConsumeOptions::default()
    };
    let (handle, mut deliveries) = consume_as(&broker, &queue, options);
    for _ in 0..3 {
        // The credit of a new channel begins at one.
        until("exchanged", || handle.health().credit <= 1).await;
        publish_all(&broker, &package, 100).await;
        for _ in 0..100 {
            next(&mut deliveries).await.receipt.ack();
        }
        assert!(handle.health().credit > 1);
    }
    until("exchanged", || handle.health().credit <= 1).await;
    // What is in hand keeps its channel.
    publish_all(&broker, &package, 1).await;
    let held = next(&mut deliveries).await;
    let age = || handle.health().oldest_unsettled_s;
    until("old", || age().is_some_and(|age| age > 1.0)).await;
    held.receipt.ack();
    until("settled", || age().is_none()).await;
    let health = handle.health();
    assert_eq!((health.delivered, health.redelivered), (301, 0));
    handle.close().await;
    let (_connection, channel) = client(Node::shared()).await;
    assert_eq!(ready(&channel, &queue).await, 0);
    broker.close().await;
}

/// How often the credit shrinks and grows again: `CREDIT_CHANGES`, for a run by hand.
fn changes() -> usize {
    let changes = std::env::var("CREDIT_CHANGES").map(|text| text.parse().unwrap());
    changes.unwrap_or(2)
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_follows_what_is_wanted_under_load_and_nothing_is_delivered_twice_for_it() {
    const FEW: usize = 5;
    const MANY: usize = 40;
    let (broker, package) = broker("shrink").await;
    let queue = names::queue_of(&package);
    publish_all(&broker, &package, 1_000).await;
    let wanted = Arc::new(AtomicUsize::new(MANY));
    let (asked, trips) = (Arc::clone(&wanted), Arc::new(Mutex::new(Vec::new())));
    let told = Arc::clone(&trips);
    let options = ConsumeOptions {
        wanted: Wanted::new(move |usage| {
            told.lock().unwrap().extend(usage.trip);
            Demand {
                wanted: asked.load(Ordering::Relaxed),
                ..Demand::default()
            }
        }),
        ..ConsumeOptions::default()
    };
    let (handle, mut deliveries) = consume_as(&broker, &queue, options);
    let mut in_hand = VecDeque::new();
    for change in 0..changes() {
        let goal = if change % 2 == 0 { MANY } else { FEW };
        wanted.store(goal, Ordering::Relaxed);
        let start = Instant::now();
        while usize::from(handle.health().credit) != goal {
            assert!(start.elapsed() < BOUND, "{:?}", handle.health());
            // As many are in hand as come; what is settled is replaced, so that the load goes on.
            in_hand.push_back(next(&mut deliveries).await);
            while in_hand.len() >= usize::from(handle.health().credit.max(1)) {
                in_hand.pop_front().unwrap().receipt.ack();
                let again = request(&package, "1");
                broker.publisher().publish_then(again, |_| ());
            }
        }
    }
    let health = handle.health();
    assert_eq!(health.redelivered, 0, "{health:?}");
    let trip = trips.lock().unwrap().last().copied();
    eprintln!("what is settled is replaced within {trip:?}");
    let bounds = Duration::from_micros(50)..Duration::from_secs(1);
    assert!(trip.is_some_and(|trip| bounds.contains(&trip)), "{trip:?}");
    handle.close().await;
    broker.close().await;
}
