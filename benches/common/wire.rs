//! What both sides of the bench say to the broker.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    PublisherConfirm,
};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// AMQP's number for "survives a restart".
pub const PERSISTENT: u8 = 2;

pub struct Message {
    pub exchange: ShortString,
    pub key: ShortString,
    pub body: Bytes,
    pub properties: BasicProperties,
}

pub async fn connect(url: &str, name: &str) -> Result<Connection> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connecting = Connection::connect(url, properties);
    connecting.await.context("no connection to the broker")
}

/// Closes as well as it can. Dropped channels close themselves meanwhile, and lapin may call that
/// race an error; what was confirmed stays confirmed.
pub async fn close(connection: Connection) {
    let _ = connection.close(200, "bye".into()).await;
}

pub async fn confirming(connection: &Connection) -> Result<Channel> {
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    Ok(channel)
}

pub async fn consume(channel: &Channel, queue: &str, prefetch: u16) -> Result<Consumer> {
    channel
        .basic_qos(prefetch, BasicQosOptions::default())
        .await?;
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(
        queue.into(),
        ShortString::default(),
        options,
        FieldTable::default(),
    );
    Ok(consuming.await?)
}

/// Declares a durable quorum queue.
pub async fn declare(
    channel: &Channel,
    queue: &str,
    arguments: &[(&str, AMQPValue)],
) -> Result<()> {
    let mut table = FieldTable::default();
    table.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    for (key, value) in arguments {
        table.insert((*key).into(), value.clone());
    }
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.into(), options, table)
        .await
        .with_context(|| format!("queue {queue} cannot be declared"))?;
    Ok(())
}

/// How many messages lie ready in a queue, and how many consumers it has.
pub async fn ready(channel: &Channel, queue: &str) -> Result<(u32, u32)> {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare(queue.into(), options, FieldTable::default())
        .await?;
    Ok((queue.message_count(), queue.consumer_count()))
}

/// Publishes a window and returns once the broker has confirmed all of it.
///
/// Every publish is polled once before any is awaited: that queues all frames, so that they leave
/// in few writes. Awaiting one by one costs a round of thread ping-pong for each message.
pub async fn publish(channel: &Channel, window: Vec<Message>) -> Result<()> {
    let mut confirms: Vec<PublisherConfirm> = Vec::with_capacity(window.len());
    let mut writing: Vec<Pin<Box<_>>> = Vec::with_capacity(window.len());
    for message in window {
        let mut publish = Box::pin(send(channel, message));
        match publish
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(confirm) => confirms.push(confirm?),
            Poll::Pending => writing.push(publish),
        }
    }
    // Last to first: once the last is there, the others are, and their awaits return at once.
    while let Some(publish) = writing.pop() {
        confirms.push(publish.await?);
    }
    for confirm in confirms {
        match confirm.await? {
            Confirmation::Ack(returned) => {
                ensure!(returned.is_none(), "a publish was returned as unroutable");
            }
            Confirmation::Nack(_) => bail!("the broker refused a publish"),
            Confirmation::NotRequested => bail!("the channel does not confirm"),
        }
    }
    Ok(())
}

async fn send(channel: &Channel, message: Message) -> lapin::Result<PublisherConfirm> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let Message {
        exchange,
        key,
        body,
        properties,
    } = message;
    channel
        .basic_publish(exchange, key, options, &body, properties)
        .await
}
