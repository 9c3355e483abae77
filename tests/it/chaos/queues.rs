//! Queues deleted with messages in them, each of which is known.

use std::{
    collections::BTreeSet,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use lapin::{
    Channel,
    message::Delivery,
    options::{BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};

use super::{dice::Dice, lasting, schedule::BOUND, site::Site};
use crate::faults::{REPLIES, tick};

const REQUESTS: &str = "inferq.labour";

/// Deletes the request queue under its consumers. What they do not have yet goes with it.
///
/// Workers are stopped so that it fills, and producers before it is read, so that what is read is all there
/// is. What is read is not acked: it is in the queue when that goes.
pub(super) async fn delete_requests(site: &Site) -> Instant {
    let all = 0..site.crew.size();
    site.crew.signal(all.clone(), "STOP");
    let filling = if site.brief { 1_000 } else { 2_000 };
    lasting(Duration::from_millis(filling)).await;
    let producers = site.desk.producing.write().await;
    let (_connection, channel) = crate::faults::connect(&site.desk.url).await.unwrap();
    let mut held = Vec::new();
    while let Some(request) = get(&channel, REQUESTS).await {
        held.push(request);
    }
    delete(&channel, REQUESTS).await;
    for request in &held {
        site.desk.ledger.destroyed(request);
    }
    site.desk.homeless.store(true, Ordering::Relaxed);
    drop(producers);
    site.crew.signal(all, "CONT");
    Instant::now()
}

/// Waits until there is a queue for requests again.
pub(super) async fn at_home(site: &Site) {
    site.crew.ready().await;
    // No window is on its way any more whose requests may have met no queue.
    let producers = site.desk.producing.write().await;
    site.desk.homeless.store(false, Ordering::Relaxed);
    drop(producers);
}

/// Deletes the reply queue with the replies to all that was asked; then it is missing for a while.
pub(super) async fn delete_replies(site: &Site, dice: &mut Dice) {
    site.desk.hold.send_replace(true);
    let consumer = site.desk.consuming.lock().await;
    let (_connection, channel) = crate::faults::connect(&site.desk.url).await.unwrap();
    until_filled(&channel, REPLIES).await;
    let producers = site.desk.producing.write().await;
    let mut held: Vec<Delivery> = Vec::new();
    let mut waiting = site.desk.ledger.open();
    let start = Instant::now();
    loop {
        let next = get(&channel, REPLIES).await;
        if let Some(reply) = &next {
            waiting.remove(&number(reply));
        }
        let more = next.is_some();
        held.extend(next);
        if more {
            continue;
        }
        if waiting.is_empty() {
            break;
        }
        // Some are answered in the dead letters.
        let open: BTreeSet<u64> = site.desk.ledger.open();
        waiting.retain(|id| open.contains(id));
        assert!(
            start.elapsed() < BOUND,
            "no reply to {waiting:?}: {}",
            site.crew.state()
        );
        tick().await;
    }
    delete(&channel, REPLIES).await;
    for reply in &held {
        site.desk.ledger.destroyed(reply);
    }
    drop(producers);
    let missing = Duration::from_millis(dice.between(300, 2_000));
    lasting(missing).await;
    drop(consumer);
    // The consumer declares it again.
    site.desk.hold.send_replace(false);
}

/// Waits until so much lies in a queue that its end is felt.
async fn until_filled(channel: &Channel, queue: &str) {
    const ENOUGH: u32 = 50;
    let start = Instant::now();
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    loop {
        let declaring = channel.queue_declare(queue.into(), options, FieldTable::default());
        let ready = declaring.await.unwrap().message_count();
        if ready >= ENOUGH {
            return;
        }
        assert!(start.elapsed() < BOUND, "{queue} holds {ready} only");
        tick().await;
    }
}

fn number(reply: &Delivery) -> u64 {
    let id = reply.properties.correlation_id().as_ref();
    id.and_then(|id| id.as_str().parse().ok()).unwrap()
}

async fn get(channel: &Channel, queue: &str) -> Option<Delivery> {
    let options = BasicGetOptions::default();
    let got = channel.basic_get(queue.into(), options).await.unwrap();
    got.map(|message| message.delivery)
}

async fn delete(channel: &Channel, queue: &str) {
    let options = QueueDeleteOptions::default();
    channel.queue_delete(queue.into(), options).await.unwrap();
}
