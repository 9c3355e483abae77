//! A broker that is slow to have on disk what it was told: nothing of it is forgotten, or counted, for that.

use super::*;

/// RabbitMQ's channel keeps acknowledgements while 32 are under way to a queue, and forgets them when it closes.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_last_is_gone_as_well_where_the_brokers_disk_is_slow() {
    const COUNT: u16 = 256;
    const CREDIT: u16 = 64;
    let node = Node::slow_disk(Duration::from_millis(200));
    let (broker, package) = broker_on(&node, "slow").await;
    let queue = names::queue_of(&package);
    publish_all(&broker, &package, COUNT.into()).await;
    node.slow_down();
    let (handle, mut deliveries) = consume(&broker, &queue, CREDIT);
    while handle.health().credit < CREDIT {
        next(&mut deliveries).await.receipt.ack();
    }
    let mut in_hand = Vec::new();
    {
        let draining = handle.drain();
        tokio::pin!(draining);
        loop {
            tokio::select! {
                () = &mut draining => break,
                Some(delivery) = deliveries.recv() => in_hand.push(delivery),
            }
        }
    }
    assert!(in_hand.len() > 40, "more than the channel has under way");
    // closing sends what waits behind the first one by one; the first goes back
    let first = in_hand.remove(0);
    for delivery in in_hand {
        delivery.receipt.ack();
    }
    let taken = u32::try_from(handle.health().delivered).unwrap();
    broker.close().await;
    drop(first);
    let (_connection, channel) = client(&node).await;
    // until then the queue has not yet taken back what was lost
    let start = Instant::now();
    while consumers(&channel, &queue).await > 0 {
        assert!(start.elapsed() < BOUND);
        tick().await;
    }
    assert_eq!(ready(&channel, &queue).await, u32::from(COUNT) - taken + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_redelivers_nothing_where_the_brokers_disk_is_slower_than_any_silence() {
    const COUNT: u16 = 64;
    const CREDIT: u16 = 16;
    let node = Node::slow_disk(Duration::from_millis(500));
    let (broker, package) = broker_on(&node, "slower").await;
    let queue = names::queue_of(&package);
    publish_all(&broker, &package, COUNT.into()).await;
    let (handle, mut deliveries) = consume(&broker, &queue, CREDIT);
    while handle.health().credit < CREDIT {
        next(&mut deliveries).await.receipt.ack();
    }
    let mut window = Vec::new();
    while window.len() < CREDIT.into() {
        window.push(next(&mut deliveries).await);
    }
    node.slow_down();
    // What the queue sends for these is on its way for longer than a drain would wait for nothing.
    for delivery in window {
        delivery.receipt.ack();
    }
    handle.drain().await;
    while let Ok(delivery) = deliveries.try_recv() {
        delivery.receipt.ack();
    }
    let taken = handle.health().delivered;
    handle.close().await;
    let (handle, mut deliveries) = consume(&broker, &queue, CREDIT);
    assert!(taken < COUNT.into(), "nothing was left");
    for _ in taken..COUNT.into() {
        let delivery = next(&mut deliveries).await;
        assert!(!delivery.redelivered, "delivered to nobody before");
        delivery.receipt.ack();
    }
    assert_eq!(handle.health().redelivered, 0);
    broker.close().await;
}
