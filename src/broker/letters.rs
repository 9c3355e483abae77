//! The dead letters of one package, taken in hand a batch at a time, oldest first.
//!
//! A letter leaves its queue only by [`Letters::remove`]; whatever else becomes of this, its process or its
//! connection, the broker has the others back. The broker bounds what it sends by count, not by bytes, so a
//! batch is as many letters as the largest one seen so far lets fit into [`BUDGET`]. Every batch has a consumer
//! of its own that is cancelled once full: one with room again is sent letters that nobody waits for, and to
//! cancel a busy one leaks those under way.

mod ask;

use self::ask::{fault, open, stat, within};
use crate::broker::config::Config;
use crate::broker::connection::{Endpoint, Link};
use crate::broker::fault::ConnectFault;
use crate::broker::properties::{Properties, short};
use crate::broker::topology::{dead_queue_of, queue_of};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer, message::Delivery};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Bytes of letters that one batch may hold, judged by the largest so far.
const BUDGET: usize = 32 << 20;
/// The most letters of a batch; beyond it, larger ones are no faster.
const MOST: usize = 512;
/// How much larger than the batch before.
const GROWTH: usize = 4;
/// After so long without a letter, the queue is asked whether there are more.
const SILENCE: Duration = Duration::from_millis(300);
/// Nothing left and nothing come for more silences than this: nothing is on its way either.
const ENOUGH: usize = 3;
/// A broker that says there are more and sends none for so many silences has failed.
const SILENCES: usize = 100;
/// Letters given back at once: within more, the broker's order is that of a hash map.
const RUN: usize = 32;
/// Bytes that are read for nothing but to give letters back in their order.
const ROUND: usize = 256 << 20;
/// How often the queue is asked whether it has settled a batch, and how long it may take.
const SETTLING: Duration = Duration::from_millis(5);
const SETTLED: Duration = Duration::from_secs(5);
/// How often a channel that nobody waits on is looked at.
const CHECK: Duration = Duration::from_millis(250);

/// One dead letter.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Properties and headers.
    pub properties: Properties,
    /// The original body.
    pub body: Bytes,
    /// What it is removed by.
    pub ticket: Ticket,
}

/// A letter in hand, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// Why dead letters cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LettersFault {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectFault),
    /// The user may not.
    #[error(
        "the broker refused the queue {queue} ({reason}); grant the user read permission for ^inferq\\.dead\\."
    )]
    AccessRefused {
        /// Which.
        queue: String,
        /// The broker's words.
        reason: String,
    },
    /// The channel or the connection ended.
    #[error(
        "reading the queue {queue} ended ({reason}); every letter not removed by then is in it: try again"
    )]
    Ended {
        /// Which.
        queue: String,
        /// What happened.
        reason: String,
    },
}

/// The dead letters of one package, and those of them in hand.
pub struct Letters {
    link: Link,
    channel: Channel,
    queue: String,
    /// The queue is there.
    exists: bool,
    /// Letters that were ready when this began.
    count: usize,
    /// Consumers of somebody else's.
    others: usize,
    /// Of `count`, not taken yet: what dies meanwhile, perhaps again, is left alone.
    ahead: usize,
    /// Letters of the next batch.
    size: usize,
    largest: usize,
    /// The last letter taken had been given back before.
    again: bool,
    /// Tags of what is in hand.
    held: BTreeSet<u64>,
    /// The last tag of each batch.
    ends: Vec<u64>,
}

impl Letters {
    /// Connects and looks how many there are; takes none yet.
    ///
    /// # Errors
    /// No broker, or it does not let this user read the queue.
    pub async fn open(config: &Config, package: &str) -> Result<Letters, LettersFault> {
        let endpoint = Endpoint::of(config).map_err(ConnectFault::from)?;
        let link = endpoint.connect("inferq dead").await?;
        let queue = dead_queue_of(package);
        let stat = stat(&link, &queue).await?;
        let (count, others) = stat.unwrap_or_default();
        Ok(Letters {
            channel: open(&link, &queue).await?,
            link,
            queue,
            exists: stat.is_some(),
            count,
            others,
            ahead: count,
            size: 1,
            largest: 1,
            again: false,
            held: BTreeSet::new(),
            ends: Vec::new(),
        })
    }

    /// The queue's name; `None` where there is no such queue: nothing has died.
    #[must_use]
    pub fn queue(&self) -> Option<&str> {
        self.exists.then_some(self.queue.as_str())
    }

    /// How many letters there were to take when this was opened.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many others had letters in hand when this was opened: theirs are not seen here.
    #[must_use]
    pub fn others(&self) -> usize {
        self.others
    }

    /// Whether a package has a queue for its requests.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn serves(&self, package: &str) -> Result<bool, LettersFault> {
        let stat = stat(&self.link, &queue_of(package)).await?;
        Ok(stat.is_some())
    }

    /// Takes the next letters in hand, at most `most`; none when there are no more. Their bodies live as long
    /// as the caller keeps them.
    ///
    /// # Errors
    /// The channel or the connection ended.
    pub async fn next(&mut self, most: usize) -> Result<Vec<Letter>, LettersFault> {
        let size = self.size.min(self.ahead).min(most);
        if size == 0 {
            return Ok(Vec::new());
        }
        // A tag that is used again crashes the channel's process in the broker.
        let tag = format!("inferq-dead-{:06}", self.ends.len());
        let mut consumer = self.consume(&tag, size).await?;
        let mut letters = Vec::with_capacity(size);
        let mut silences = 0;
        while letters.len() < size {
            match tokio::time::timeout(SILENCE, consumer.next()).await {
                Ok(delivery) => letters.push(self.enter(delivery)?),
                // Somebody else has taken what was counted, unless it is still on its way.
                Err(_) if self.stat().await?.0 == 0 && silences >= ENOUGH => {
                    self.ahead = 0;
                    break;
                }
                Err(_) if silences < SILENCES => silences += 1,
                Err(_) => return Err(self.ended("the broker has letters and sends none")),
            }
        }
        let cancelling = self
            .channel
            .basic_cancel(short(&tag), BasicCancelOptions::default());
        self.within(cancelling).await?;
        // What came on the way, then the end.
        while let Ok(Some(delivery)) = tokio::time::timeout(SILENCE, consumer.next()).await {
            letters.push(self.enter(Some(delivery))?);
        }
        self.ahead = self.ahead.saturating_sub(letters.len());
        self.ends
            .push(letters.last().map_or(0, |letter| letter.ticket.0));
        let fits = BUDGET / self.largest;
        self.size = (self.size * GROWTH).min(fits).clamp(1, MOST);
        Ok(letters)
    }

    /// Removes a letter for good. It is gone for certain once [`Letters::close`] has returned well.
    ///
    /// # Errors
    /// The channel or the connection ended: the broker has the letter back.
    pub fn remove(&mut self, ticket: Ticket) -> Result<(), LettersFault> {
        self.held.remove(&ticket.0);
        let acking = self.channel.basic_ack(ticket.0, BasicAckOptions::default());
        // The frame is queued by the first poll; when it is written is of no interest.
        match acking.now_or_never() {
            Some(Err(error)) => Err(self.fault(&error)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Waits until the connection has failed.
    pub async fn lost(&self) -> LettersFault {
        while self.channel.status().connected() {
            tokio::time::sleep(CHECK).await;
        }
        self.ended("the connection is gone")
    }

    /// Gives back what is in hand, in the order in which it was, and waits until all is settled.
    ///
    /// # Errors
    /// The connection ended first: the broker may have letters back that were removed.
    pub async fn close(mut self) -> Result<(), LettersFault> {
        // What is given back queues up behind what was given back before, so that is taken first.
        while self.again
            && !self.held.is_empty()
            && self.ahead.saturating_mul(self.largest) <= ROUND
        {
            if self.next(usize::MAX).await?.is_empty() {
                break;
            }
        }
        if self.ends.is_empty() {
            self.link.close().await;
            return Ok(());
        }
        let mut batches = Vec::new();
        for end in std::mem::take(&mut self.ends) {
            let rest = self.held.split_off(&(end + 1));
            batches.push(std::mem::replace(&mut self.held, rest));
        }
        batches.retain(|batch| !batch.is_empty());
        let options = BasicNackOptions {
            multiple: true,
            requeue: true,
        };
        let mut consumers = self.others + batches.len();
        let mut telling = self.settled(consumers).await?;
        for batch in batches {
            let tags: Vec<u64> = batch.into_iter().collect();
            // `multiple` wants a tag that the broker still waits for.
            for last in tags.chunks(RUN).filter_map(<[u64]>::last) {
                self.within(self.channel.basic_nack(*last, options)).await?;
            }
            consumers -= 1;
            telling = telling && self.settled(consumers).await?;
        }
        self.within(self.channel.close(200, "bye".into())).await?;
        self.link.close().await;
        Ok(())
    }

    /// Waits until the queue has so many consumers: a cancelled one is counted until its last letter is settled.
    /// RabbitMQ (3.10, seen) merges what a channel has not passed on yet, out of order, and forgets it when the
    /// channel is closed: letters that were removed come back. False where the count tells nothing, for others
    /// come and go.
    async fn settled(&self, consumers: usize) -> Result<bool, LettersFault> {
        let since = Instant::now();
        loop {
            match self.stat().await? {
                (_, counted) if counted <= consumers => return Ok(true),
                _ if since.elapsed() >= SETTLED => return Ok(false),
                _ => tokio::time::sleep(SETTLING).await,
            }
        }
    }

    async fn consume(&self, tag: &str, prefetch: usize) -> Result<Consumer, LettersFault> {
        let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX);
        let qos = self.channel.basic_qos(prefetch, BasicQosOptions::default());
        self.within(qos).await?;
        let consuming = self.channel.basic_consume(
            short(&self.queue),
            short(tag),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        self.within(consuming).await
    }

    fn enter(&mut self, delivery: Option<lapin::Result<Delivery>>) -> Result<Letter, LettersFault> {
        let delivery = delivery.ok_or_else(|| self.ended("the queue was deleted"))?;
        let delivery = delivery.map_err(|error| self.fault(&error))?;
        self.held.insert(delivery.delivery_tag);
        self.largest = self.largest.max(delivery.data.len());
        let properties = Properties(delivery.properties);
        self.again = properties.delivery_count() > 0;
        Ok(Letter {
            properties,
            body: delivery.data.into(),
            ticket: Ticket(delivery.delivery_tag),
        })
    }

    /// Letters that nobody has in hand, and consumers.
    async fn stat(&self) -> Result<(usize, usize), LettersFault> {
        let stat = stat(&self.link, &self.queue).await?;
        stat.ok_or_else(|| self.ended("the queue was deleted"))
    }

    async fn within<T>(
        &self,
        asking: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, LettersFault> {
        within(&self.queue, asking).await
    }

    fn fault(&self, error: &lapin::Error) -> LettersFault {
        fault(&self.queue, error)
    }

    fn ended(&self, reason: &str) -> LettersFault {
        LettersFault::Ended {
            queue: self.queue.clone(),
            reason: reason.to_owned(),
        }
    }
}
