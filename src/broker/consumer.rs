//! Consuming a queue: what a delivery is, and the task that subscribes again whatever happens to connection,
//! channel and queue.

use crate::broker::config::{Config, TopologyMode};
use crate::broker::connection::{Backoff, Link, LinkState, PATIENCE, connected};
use crate::broker::demand::Wanted;
use crate::broker::ledger::Ledger;
use crate::broker::properties::{Properties, short};
use crate::broker::receipt::Receipt;
use crate::broker::screen::Blemish;
use crate::broker::subscription::{Consuming, Over};
use crate::broker::topology::Plan;
use crate::broker::ward::Ward;
use bytes::Bytes;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A message from a queue.
#[derive(Debug)]
pub struct Delivery {
    /// The payload.
    pub body: Bytes,
    /// Properties and headers.
    pub properties: Properties,
    /// Where it was published to.
    pub exchange: String,
    /// With which key.
    pub routing_key: String,
    /// The queue it came from.
    pub queue: Arc<str>,
    /// Whether it may have been seen before.
    pub redelivered: bool,
    /// How often it was given back or lost before.
    pub delivery_count: u64,
    /// What had to be mended before it could be read; such a message is to be rejected.
    pub blemish: Option<Blemish>,
    /// When it arrived here.
    pub received: Instant,
    /// The duty to settle it.
    pub receipt: Receipt,
}

impl Delivery {
    /// What has come from `queue` now.
    pub(super) fn of(
        message: lapin::message::Delivery,
        queue: &Arc<str>,
        (receipt, received): (Receipt, Instant),
        blemish: Option<Blemish>,
    ) -> Box<Delivery> {
        let redelivered = message.redelivered;
        let mut properties = Properties(message.properties);
        if blemish == Some(Blemish::ReplyTo) {
            properties = properties.with_reply_to("");
        }
        Box::new(Delivery {
            body: message.data.into(),
            exchange: message.exchange.into(),
            routing_key: message.routing_key.into(),
            queue: Arc::clone(queue),
            redelivered,
            // a first delivery has none: such a header on it is the producer's own
            delivery_count: if redelivered {
                properties.delivery_count()
            } else {
                0
            },
            blemish,
            received,
            receipt,
            properties,
        })
    }

    /// How much it is suspected of the death of workers: from 2 on it runs alone, as everything does that was set apart.
    /// Of that each loss counts one, so that turns are upwards and downwards by turns.
    pub(super) fn suspicion(&self) -> u64 {
        let before = self.properties.lost();
        let before = before.map_or(0, |lost| lost.saturating_add(2));
        before.saturating_add(self.delivery_count)
    }

    /// The same for a message on every worker.
    pub(super) fn key(&self) -> u64 {
        let mut hash = Sha256::new();
        for part in [
            self.properties.message_id(),
            self.properties.correlation_id(),
        ] {
            hash.update(part.unwrap_or_default());
            hash.update([0]);
        }
        hash.update(&self.body);
        let digest: [u8; 32] = hash.finalize().into();
        digest
            .iter()
            .take(8)
            .fold(0, |key, byte| key << 8 | u64::from(*byte))
    }
}

/// Takes deliveries; called by the consuming task, so it must not block.
pub type Handler = Arc<dyn Fn(Box<Delivery>) + Send + Sync>;

/// How a queue is consumed.
#[derive(Clone, Debug)]
pub struct ConsumeOptions {
    /// What the credit may grow to.
    pub prefetch_max: u16,
    /// Nor does it grow beyond this.
    pub wanted: Wanted,
    /// Bytes that the bodies of unsettled deliveries may have together; a single one may have more.
    pub in_flight_bytes: usize,
    /// What a body is taken to have until some have been seen.
    pub expected_bytes: usize,
    /// A channel on which nothing has come for so long is exchanged for another; a next one on which nothing comes at
    /// all after twice as long each, up to 32 times. RabbitMQ has been seen (3.10.8) to hand out as many messages
    /// as the consumers of a channel may have, none of which arrived, until the channel was closed.
    pub idle: Duration,
}

impl Default for ConsumeOptions {
    /// As the configuration has it, and of bodies nothing is known.
    fn default() -> Self {
        let Config {
            prefetch,
            in_flight_bytes,
            ..
        } = Config::default();
        ConsumeOptions {
            prefetch_max: prefetch,
            wanted: Wanted::default(),
            in_flight_bytes,
            expected_bytes: 1,
            idle: Duration::from_secs(15),
        }
    }
}

/// How a queue's consumer stands.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct QueueHealth {
    /// The queue.
    pub queue: String,
    /// Whether the broker sends deliveries.
    pub subscribed: bool,
    /// Why it does not.
    pub reason: Option<String>,
    /// The prefetch asked of the broker at present.
    pub credit: u16,
    /// Handed out and not settled.
    pub in_hand: usize,
    /// Held back, to run alone.
    pub held: usize,
    /// Seconds since the oldest unsettled delivery arrived; since it was handed out, where it was held back to run
    /// alone.
    pub oldest_unsettled_s: Option<f64>,
    /// Deliveries so far.
    pub delivered: u64,
    /// Of them, those that may have been seen before.
    pub redelivered: u64,
    /// Receipts that nobody settled: each is a bug.
    pub dropped: u64,
}

/// What task and handle share.
#[derive(Default)]
pub(super) struct Shared {
    queue: String,
    pub(super) subscribed: AtomicBool,
    pub(super) credit: AtomicUsize,
    pub(super) held: AtomicUsize,
    pub(super) delivered: AtomicU64,
    pub(super) redelivered: AtomicU64,
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) reason: Mutex<Option<String>>,
    pub(super) ledger: Mutex<Option<Arc<Ledger>>>,
}

impl Shared {
    pub(super) fn health(&self) -> QueueHealth {
        let ledger = lock(&self.ledger).clone();
        // First: none is as old any more as the last of them was.
        let held = self.held.load(Ordering::Acquire);
        let oldest = ledger.as_ref().and_then(|ledger| ledger.oldest());
        QueueHealth {
            queue: self.queue.clone(),
            subscribed: self.subscribed.load(Ordering::Relaxed),
            reason: lock(&self.reason).clone(),
            credit: u16::try_from(self.credit.load(Ordering::Relaxed)).unwrap_or(u16::MAX),
            in_hand: ledger
                .map_or(0, |ledger| ledger.in_hand())
                .saturating_sub(held),
            held,
            oldest_unsettled_s: oldest.map(|at| at.elapsed().as_secs_f64()),
            delivered: self.delivered.load(Ordering::Relaxed),
            redelivered: self.redelivered.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    fn down(&self, reason: Option<String>) {
        self.subscribed.store(false, Ordering::Relaxed);
        self.credit.store(0, Ordering::Relaxed);
        self.held.store(0, Ordering::Relaxed);
        *lock(&self.ledger) = None;
        *lock(&self.reason) = reason;
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A consumer at work; dropping the handle leaves it at work.
pub struct ConsumerHandle {
    pub(super) shared: Arc<Shared>,
    drain: CancellationToken,
    drained: watch::Receiver<bool>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl ConsumerHandle {
    /// Takes no more deliveries, without making the broker count any. Resolves when nothing more will come
    /// but what runs alone; receipts stay good until [`close`](Self::close).
    pub async fn drain(&self) {
        self.drain.cancel();
        let _ = self.drained.clone().wait_for(|drained| *drained).await;
    }

    /// How it stands.
    #[must_use]
    pub fn health(&self) -> QueueHealth {
        self.shared.health()
    }

    /// Ends it; what is unsettled goes back to the queue.
    pub async fn close(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// All that a consuming task needs.
pub(super) struct Task {
    pub(super) state: watch::Receiver<LinkState>,
    pub(super) plan: Arc<Mutex<Plan>>,
    pub(super) mode: TopologyMode,
    pub(super) options: ConsumeOptions,
    pub(super) handler: Handler,
    pub(super) ward: Arc<Ward>,
    pub(super) stop: CancellationToken,
}

impl Task {
    pub(super) fn start(self, queue: &str, tasks: &TaskTracker) -> ConsumerHandle {
        let shared = Arc::new(Shared {
            queue: queue.to_owned(),
            ..Shared::default()
        });
        let (drained_tx, drained) = watch::channel(false);
        let drain = CancellationToken::new();
        let stop = self.stop.clone();
        let session = Session {
            queue: queue.into(),
            shared: Arc::clone(&shared),
            drain: drain.clone(),
            drained: drained_tx,
            task: self,
        };
        ConsumerHandle {
            shared,
            drain,
            drained,
            stop,
            task: tasks.spawn(session.run()),
        }
    }
}

/// The consuming task over all connections.
pub(super) struct Session {
    pub(super) queue: Arc<str>,
    pub(super) shared: Arc<Shared>,
    pub(super) drain: CancellationToken,
    pub(super) drained: watch::Sender<bool>,
    pub(super) task: Task,
}

impl Session {
    async fn run(mut self) {
        let stop = self.task.stop.clone();
        let mut backoff = Backoff::default();
        let mut idle = self.task.options.idle;
        while !stop.is_cancelled() {
            let link = tokio::select! {
                () = stop.cancelled() => break,
                () = self.drain.cancelled() => break,
                link = connected(&mut self.task.state) => link,
            };
            let Some(link) = link else { break };
            let since = Instant::now();
            let end = match Consuming::open(&self, &link, idle).await {
                Ok(mut open) => open.run().await,
                Err(reason) => Err(reason),
            };
            if let Ok(Over::Idle { all_along }) = end {
                let least = self.task.options.idle;
                idle = if all_along {
                    (idle * 2).min(least * 32)
                } else {
                    least
                };
                continue;
            }
            self.shared.down(end.clone().err());
            let Err(reason) = end else { break };
            tracing::warn!(queue = &*self.queue, reason, "not consuming");
            if since.elapsed() > PATIENCE {
                backoff = Backoff::default();
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
        self.drained.send_replace(true);
        // Drained without a connection: nothing is in hand, but the handle decides when it is over.
        stop.cancelled().await;
    }

    /// Makes sure that the queue is there, on a channel that may break.
    pub(super) async fn ensure(&self, link: &Link) -> Result<(), String> {
        let channel = link.channel().await?;
        let plan = lock(&self.task.plan).only(&self.queue);
        let ensuring = async {
            if let (Some(plan), TopologyMode::Declare) = (plan, self.task.mode) {
                let declared = plan.declare(&channel).await;
                return declared.map_err(|fault| fault.to_string());
            }
            let options = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let declared = channel
                .queue_declare(short(&self.queue), options, FieldTable::default())
                .await;
            declared.map(drop).map_err(|error| error.to_string())
        };
        bounded(link, ensuring).await?
    }
}

/// The broker's answer, unless it takes too long or the connection is lost.
pub(super) async fn bounded<T>(link: &Link, future: impl Future<Output = T>) -> Result<T, String> {
    tokio::select! {
        () = link.lost.cancelled() => Err("the connection is gone".into()),
        answer = tokio::time::timeout(PATIENCE * 2, future) => {
            answer.map_err(|_| "the broker did not answer in time".to_string())
        }
    }
}

/// Until then, or for ever.
pub(super) async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
