//! Requesters by direct reply-to: there, gone, and made up.

use super::*;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::FieldTable;

const DIRECT: &str = "amq.rabbitmq.reply-to";

/// A requester's channel, its consumer, and the name that the broker made for its replies.
async fn requester(broker: &Broker, package: &str) -> (lapin::Channel, lapin::Consumer, String) {
    let (_connection, channel) = client(Node::shared()).await;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let arguments = FieldTable::default();
    let replies = channel.basic_consume(DIRECT.into(), "r".into(), options, arguments);
    let replies = replies.await.unwrap();
    let (_handle, mut requests) = consume(broker, &format!("inferq.{package}"), 1);
    let properties = lapin::BasicProperties::default().with_reply_to(DIRECT.into());
    let options = BasicPublishOptions::default();
    let key = package.into();
    let asked = channel.basic_publish(names::EXCHANGE.into(), key, options, b"?", properties);
    asked.await.unwrap();
    let request = next(&mut requests).await;
    let name = request.properties.reply_to().unwrap().to_owned();
    request.receipt.ack();
    (channel, replies, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requester_is_there_until_its_channel_ends_and_a_name_that_is_made_up_harms_nobody() {
    let (broker, package) = broker("asked").await;
    let (channel, _replies, name) = requester(&broker, &package).await;
    assert!(!broker.is_gone(&name).await);
    // As the broker writes them, of a node that is not there; and as nobody does.
    for process in ["g2dkAAN4QHkAAAABAAAAAAA=", "anVuaw==", "g2QAAWE="] {
        let made_up = format!("{DIRECT}.{process}.bm9ib2R5");
        assert!(!broker.is_gone(&made_up).await, "{made_up}");
    }
    channel.close(200, "gone".into()).await.unwrap();
    let start = Instant::now();
    while !broker.is_gone(&name).await {
        assert!(start.elapsed() < BOUND, "never gone");
        tick().await;
    }
    let health = broker.health();
    for link in [health.consuming, health.publishing] {
        assert!(link.connected, "{link:?}");
        assert_eq!(link.reconnects, 0, "{link:?}");
    }
    broker.close().await;
}
