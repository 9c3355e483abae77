//! A plain client, to put letters where they lie and to look at what is left.

use std::time::Instant;

use futures::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions,
        BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};

use crate::{
    faults::{tick, unix_ms},
    worker::{BOUND, Worker},
};

/// What every request says.
pub(super) fn properties(id: &str) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_correlation_id(id.into())
        .with_message_id(id.into())
}

/// Adds what inferq notes on a dead letter.
pub(super) fn marked(
    properties: BasicProperties,
    reason: &str,
    hours: Option<u64>,
) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert("inferq-reason".into(), AMQPValue::LongString(reason.into()));
    headers.insert(
        "inferq-stage".into(),
        AMQPValue::LongString("predict".into()),
    );
    headers.insert("inferq-attempts".into(), AMQPValue::LongLongInt(2));
    headers.insert(
        "inferq-worker".into(),
        AMQPValue::LongString("worker-1".into()),
    );
    if let Some(hours) = hours {
        let at = unix_ms() - i64::try_from(hours).unwrap() * 3_600_000 - 60_000;
        headers.insert("inferq-died-at".into(), AMQPValue::LongLongInt(at));
    }
    properties.with_headers(headers)
}

pub(super) struct Client {
    pub(super) connection: Connection,
    pub(super) channel: Channel,
}

/// Letters that somebody else has in hand.
pub(super) struct Held(Channel);

impl Held {
    pub(super) async fn give_back(self) {
        self.0.close(200, "bye".into()).await.unwrap();
    }
}

impl Client {
    pub(super) async fn connect(url: &str) -> Client {
        let connection = Connection::connect(url, ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        Client {
            connection,
            channel,
        }
    }

    /// Publishes all; the broker has them when this returns.
    pub(super) async fn publish(
        &self,
        exchange: &str,
        key: &str,
        all: Vec<(BasicProperties, Vec<u8>)>,
    ) {
        let mut confirms = Vec::new();
        for (properties, body) in all {
            let options = BasicPublishOptions {
                mandatory: true,
                immediate: false,
            };
            let publishing =
                self.channel
                    .basic_publish(exchange.into(), key.into(), options, &body, properties);
            confirms.push(publishing.await.unwrap());
        }
        for confirm in confirms {
            let confirmation = confirm.await.unwrap();
            assert!(confirmation.is_ack() && confirmation.take_message().is_none());
        }
    }

    pub(super) async fn reply_queue(&self, name: &str) {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        self.channel
            .queue_declare(name.into(), options, FieldTable::default())
            .await
            .unwrap();
    }

    /// Has the broker itself dead-letter a message, into the dead letters of `package`.
    pub(super) async fn expire_into_dead(&self, package: &str, body: &[u8]) {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut arguments = FieldTable::default();
        arguments.insert("x-dead-letter-exchange".into(), text("inferq.dead"));
        arguments.insert("x-dead-letter-routing-key".into(), text(package));
        arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(1));
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        self.channel
            .queue_declare("short-lived".into(), options, arguments)
            .await
            .unwrap();
        let all = vec![(BasicProperties::default(), body.to_vec())];
        self.publish("", "short-lived", all).await;
    }

    /// Gives the first message of a queue back so many times.
    pub(super) async fn give_back(&self, queue: &str, times: usize) {
        let requeue = BasicNackOptions {
            multiple: false,
            requeue: true,
        };
        for _ in 0..times {
            let message = self.get(queue).await.expect("a message");
            message.nack(requeue).await.unwrap();
        }
    }

    async fn get(&self, queue: &str) -> Option<Delivery> {
        let options = BasicGetOptions::default();
        let message = self.channel.basic_get(queue.into(), options).await.unwrap();
        message.map(|message| message.delivery)
    }

    /// Takes everything off a queue.
    pub(super) async fn drain(&self, queue: &str) -> Vec<Delivery> {
        let mut all = Vec::new();
        while let Some(message) = self.get(queue).await {
            message.ack(BasicAckOptions::default()).await.unwrap();
            all.push(message);
        }
        all
    }

    /// As [`Client::drain`], for many.
    pub(super) async fn stream(&self, queue: &str) -> Vec<Delivery> {
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let count = self.ready(queue).await as usize;
        let (tag, arguments) = ("stream".into(), FieldTable::default());
        let consuming = self
            .channel
            .basic_consume(queue.into(), tag, options, arguments);
        let consumer = consuming.await.unwrap();
        let all = consumer.take(count).map(Result::unwrap).collect();
        let all = tokio::time::timeout(BOUND, all).await;
        all.expect("every message in time")
    }

    /// Takes `count` messages and keeps them.
    pub(super) async fn hold(&self, queue: &str, count: u16) -> Held {
        let channel = self.connection.create_channel().await.unwrap();
        channel
            .basic_qos(count, BasicQosOptions::default())
            .await
            .unwrap();
        let options = BasicConsumeOptions::default();
        let consuming =
            channel.basic_consume(queue.into(), "held".into(), options, FieldTable::default());
        let mut consumer = consuming.await.unwrap();
        for _ in 0..count {
            let next = tokio::time::timeout(BOUND, consumer.next()).await;
            next.expect("a message in time").unwrap().unwrap();
        }
        Held(channel)
    }

    /// Messages ready in a queue; none in one that is not there.
    pub(super) async fn ready(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let channel = self.connection.create_channel().await.unwrap();
        let declaring = channel.queue_declare(queue.into(), options, FieldTable::default());
        let Ok(queue) = declaring.await else { return 0 };
        channel.close(200, "bye".into()).await.unwrap();
        queue.message_count()
    }

    pub(super) async fn until(&self, queue: &str, what: &str, holds: impl Fn(u32) -> bool) -> u32 {
        let start = Instant::now();
        loop {
            let ready = self.ready(queue).await;
            if holds(ready) {
                return ready;
            }
            assert!(
                start.elapsed() < BOUND,
                "{queue} has {ready}, expected {what}"
            );
            tick().await;
        }
    }

    pub(super) async fn until_ready(&self, queue: &str, count: u32) {
        self.until(queue, &count.to_string(), |ready| ready == count)
            .await;
    }

    /// Until the worker has settled all it got.
    pub(super) async fn until_rest(&self, worker: &Worker) {
        self.until_ready("inferq.fraud", 0).await;
        self.until_ready("inferq.unknown", 0).await;
        worker.await_that("at rest", |worker| {
            let status = worker.status();
            let queues = status["broker"]["queues"].as_array().unwrap();
            queues.iter().all(|queue| queue["in_hand"] == 0)
        });
    }
}
