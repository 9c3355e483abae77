//! The bare echo worker: the limit of the broker's side, with a worker's guarantees and nothing else.
//!
//! Consume, publish the reply with confirm, acknowledge what is confirmed. One connection consumes
//! and another publishes, as any worker that must survive a blocked connection has it.

use crate::options::EchoRole;
use crate::replies::ReplySize;
use crate::wire::{self, Message};
use anyhow::{Result, anyhow};
use bytes::Bytes;
use futures::stream::{Fuse, FusedStream};
use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Consumer};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Deliveries to answer, and where to say that the broker has confirmed the replies.
struct Chunk {
    deliveries: Vec<Delivery>,
    confirmed: oneshot::Sender<()>,
}

/// The highest delivery tag of a chunk, and when everything up to it may be acknowledged.
type Settling = (u64, oneshot::Receiver<()>);

/// Echoes until SIGTERM.
pub async fn run(role: &EchoRole) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let consuming = wire::connect(&role.url, "echo consumes").await?;
    let publishing = wire::connect(&role.url, "echo publishes").await?;
    let setup = &role.setup;
    let channel = consuming.create_channel().await?;
    let consumer = wire::consume(&channel, &role.queue, setup.prefetch).await?;

    let mut tasks = JoinSet::new();
    let reply = Reply::of(role.reply_size);
    let mut publishers = Vec::new();
    for _ in 0..setup.channels {
        let (chunks, work) = mpsc::channel(1);
        tasks.spawn(answer(
            wire::confirming(&publishing).await?,
            work,
            reply.clone(),
        ));
        publishers.push(chunks);
    }
    let (settling, confirmed) = mpsc::channel(2 * setup.channels);
    tasks.spawn(acknowledge(channel.clone(), confirmed));

    let tag = consumer.tag();
    tokio::spawn(async move {
        terminated.recv().await;
        // The consumer's stream ends with it.
        channel
            .basic_cancel(tag, BasicCancelOptions::default())
            .await
    });
    deal(consumer.fuse(), role, &publishers, &settling).await?;
    drop((publishers, settling));
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    wire::close(publishing).await;
    wire::close(consuming).await;
    Ok(())
}

/// What every reply says.
#[derive(Clone)]
struct Reply {
    body: Bytes,
    headers: FieldTable,
}

impl Reply {
    /// Of exactly this size; of headers that are shorter than one can be, nothing.
    fn of(size: ReplySize) -> Reply {
        let frame = r#"{"score":}"#.len();
        let number = "1".repeat(size.body_bytes.saturating_sub(frame));
        let mut headers = FieldTable::default();
        let name = "server-timing";
        if let Some(rest) = size.header_bytes.checked_sub(1 + name.len() + 1 + 4) {
            headers.insert(name.into(), AMQPValue::LongString("t".repeat(rest).into()));
        }
        Reply {
            body: format!(r#"{{"score":{number}}}"#).into(),
            headers,
        }
    }
}

/// Deals chunks to the publishers in turn, and to the acknowledger in the order of their tags.
async fn deal(
    mut consumer: Fuse<Consumer>,
    role: &EchoRole,
    publishers: &[mpsc::Sender<Chunk>],
    settling: &mpsc::Sender<Settling>,
) -> Result<()> {
    let pause = Duration::from_millis(role.setup.coalesce_ms);
    for publisher in publishers.iter().cycle() {
        let deliveries = chunk(&mut consumer, role.setup.window, pause).await?;
        let Some(last) = deliveries.last() else { break };
        let last = last.delivery_tag;
        let (confirmed, when) = oneshot::channel();
        let ended = |_| anyhow!("a publisher has ended");
        let chunk = Chunk {
            deliveries,
            confirmed,
        };
        publisher.send(chunk).await.map_err(ended)?;
        settling
            .send((last, when))
            .await
            .map_err(|_| anyhow!("the acknowledger has ended"))?;
    }
    Ok(())
}

/// What is ready, up to `most`; if that is less, what is ready after a pause too. Empty: the end.
async fn chunk(
    consumer: &mut Fuse<Consumer>,
    most: usize,
    pause: Duration,
) -> Result<Vec<Delivery>> {
    let mut chunk = Vec::with_capacity(most);
    chunk.extend(consumer.next().await.transpose()?);
    top_up(consumer, &mut chunk, most)?;
    if chunk.len() < most && !pause.is_zero() && !consumer.is_terminated() {
        tokio::time::sleep(pause).await;
        top_up(consumer, &mut chunk, most)?;
    }
    Ok(chunk)
}

fn top_up(consumer: &mut Fuse<Consumer>, chunk: &mut Vec<Delivery>, most: usize) -> Result<()> {
    while chunk.len() < most
        && let Some(Some(delivery)) = consumer.next().now_or_never()
    {
        chunk.push(delivery?);
    }
    Ok(())
}

/// One publisher: it alone uses its channel, one window at a time.
async fn answer(channel: Channel, mut work: mpsc::Receiver<Chunk>, reply: Reply) -> Result<()> {
    while let Some(chunk) = work.recv().await {
        let replies = chunk
            .deliveries
            .into_iter()
            .map(|delivery| reply_to(&delivery, reply.clone()));
        wire::publish(&channel, replies.collect::<Result<_>>()?).await?;
        let _ = chunk.confirmed.send(());
    }
    Ok(())
}

fn reply_to(request: &Delivery, Reply { body, headers }: Reply) -> Result<Message> {
    let properties = &request.properties;
    let to = properties.reply_to().clone();
    let id = properties.correlation_id().clone().unwrap_or_default();
    Ok(Message {
        exchange: ShortString::default(),
        key: to.ok_or_else(|| anyhow!("a request without reply_to"))?,
        body,
        properties: BasicProperties::default()
            .with_delivery_mode(wire::PERSISTENT)
            .with_content_type("application/json".into())
            .with_type("outcome".into())
            .with_message_id(id.clone())
            .with_correlation_id(id)
            .with_headers(headers),
    })
}

/// Acknowledges in the order of the tags, so that `multiple` never covers what is unconfirmed.
async fn acknowledge(channel: Channel, mut confirmed: mpsc::Receiver<Settling>) -> Result<()> {
    while let Some((tag, when)) = confirmed.recv().await {
        when.await?;
        channel
            .basic_ack(tag, BasicAckOptions { multiple: true })
            .await?;
    }
    Ok(())
}
