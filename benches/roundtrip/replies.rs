//! The requester's side: takes the replies and keeps the books.

use crate::load;
use crate::wire;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures::StreamExt;
use futures::stream::ReadyChunks;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A worker that is silent for so long will not speak again.
const PATIENCE: Duration = Duration::from_secs(30);
/// A second reply to a request follows the first within this, or never.
const SURPLUS: Duration = Duration::from_millis(300);
const PREFETCH: u16 = 2000;

/// What a reply's body must be.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// The request's own amount, as the model gives it.
    Amount,
    /// Anything of so many bytes.
    Bytes(usize),
}

/// How large a reply is: what the broker has to carry.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub struct ReplySize {
    /// Of the body
    #[arg(long)]
    pub body_bytes: usize,
    /// Of the headers, as AMQP encodes them
    #[arg(long)]
    pub header_bytes: usize,
}

impl ReplySize {
    fn of(reply: &Delivery) -> ReplySize {
        let headers = reply
            .properties
            .headers()
            .iter()
            .flat_map(FieldTable::inner);
        let bytes = headers.map(|(name, value)| {
            let text = value
                .as_long_string()
                .map_or(0, |text| text.as_bytes().len());
            // two lengths and the type of the value besides
            1 + name.as_str().len() + 1 + 4 + text
        });
        ReplySize {
            body_bytes: reply.data.len(),
            header_bytes: bytes.sum(),
        }
    }
}

#[derive(Deserialize)]
struct Outcome {
    score: f64,
}

/// Which requests have been answered. Every reply must be an outcome, the right one, and the first.
pub struct Books {
    answered: Vec<bool>,
    expected: Expected,
    pub count: u64,
    /// Of the last reply.
    pub reply_size: Option<ReplySize>,
}

impl Books {
    pub fn new(requests: u64, expected: Expected) -> Result<Books> {
        Ok(Books {
            answered: vec![false; usize::try_from(requests)?],
            expected,
            count: 0,
            reply_size: None,
        })
    }

    pub fn complete(&self) -> bool {
        self.count == self.answered.len() as u64
    }

    fn enter(&mut self, reply: &Delivery) -> Result<()> {
        let properties = &reply.properties;
        let body = &reply.data;
        let shown = || String::from_utf8_lossy(body).into_owned();
        let id = properties
            .correlation_id()
            .as_ref()
            .context("a reply without correlation id")?;
        let kind = properties.kind().as_ref();
        let kind = kind.map_or("nothing", lapin::types::ShortString::as_str);
        ensure!(kind == "outcome", "a reply of type {kind}: {}", shown());
        let index: u64 = id
            .as_str()
            .parse()
            .with_context(|| format!("a reply to {id}"))?;
        let answered = self.answered.get_mut(usize::try_from(index)?);
        let answered = answered.with_context(|| format!("a reply to {id}, which nobody sent"))?;
        ensure!(!*answered, "two replies to {id}");
        *answered = true;
        let right = match self.expected {
            Expected::Amount => {
                let outcome: Outcome = serde_json::from_slice(body).with_context(shown)?;
                let amount = u32::try_from(load::amount(index))?;
                (outcome.score - f64::from(amount)).abs() < 0.5
            }
            Expected::Bytes(bytes) => body.len() == bytes,
        };
        ensure!(right, "a wrong reply to {id}: {}", shown());
        self.reply_size = Some(ReplySize::of(reply));
        self.count += 1;
        Ok(())
    }
}

pub struct Replies {
    connection: Connection,
    channel: Channel,
    chunks: ReadyChunks<Consumer>,
}

impl Replies {
    pub async fn open(url: &str, queue: &str) -> Result<Replies> {
        let connection = wire::connect(url, "bench requests").await?;
        let channel = connection.create_channel().await?;
        let consumer = wire::consume(&channel, queue, PREFETCH).await?;
        Ok(Replies {
            connection,
            channel,
            chunks: consumer.ready_chunks(usize::from(PREFETCH)),
        })
    }

    /// Enters the replies that have come, at least one; how many.
    pub async fn next(&mut self, books: &mut Books) -> Result<usize> {
        let Ok(chunk) = tokio::time::timeout(PATIENCE, self.chunks.next()).await else {
            let missing = books.answered.len() as u64 - books.count;
            bail!("no reply for {PATIENCE:?}, and {missing} are missing");
        };
        let chunk: Vec<Delivery> = chunk
            .context("the reply queue is gone")?
            .into_iter()
            .collect::<Result<_, _>>()?;
        for reply in &chunk {
            books.enter(reply)?;
        }
        if let Some(last) = chunk.last() {
            let multiple = BasicAckOptions { multiple: true };
            self.channel.basic_ack(last.delivery_tag, multiple).await?;
        }
        Ok(chunk.len())
    }

    /// Ends with an error if a reply too many comes.
    pub async fn finish(mut self, books: &mut Books) -> Result<()> {
        if let Ok(Some(surplus)) = tokio::time::timeout(SURPLUS, self.chunks.next()).await {
            for reply in surplus {
                books.enter(&reply?)?;
            }
            bail!("more replies than requests");
        }
        wire::close(self.connection).await;
        Ok(())
    }
}
