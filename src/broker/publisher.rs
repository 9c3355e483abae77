//! Publishing with confirms: a queue of publications, and a few tasks that each own one confirm channel and
//! take what waits, a window at a time. What was not confirmed when a channel broke goes again.

use crate::broker::connection::{Backoff, Link, LinkState, connected};
use crate::broker::properties::Properties;
use crate::broker::window::{Fate, fates};
use bytes::Bytes;
use lapin::Channel;
use lapin::options::ConfirmSelectOptions;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How long a publication that the broker nacks is tried again.
const NACK_PATIENCE: Duration = Duration::from_secs(10);
const NACK_PAUSE: Duration = Duration::from_millis(200);
/// How long lapin may take to fail what is in flight once its connection is known to be lost.
const WAKE: Duration = Duration::from_secs(1);

/// A message to publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Empty: the default exchange.
    pub exchange: String,
    /// With the default exchange, the queue's name.
    pub routing_key: String,
    /// The payload.
    pub body: Bytes,
    /// Properties and headers.
    pub properties: Properties,
    /// Fail with [`PublishFault::Unroutable`] if no queue takes it. Never for direct reply-to.
    pub mandatory: bool,
}

/// Why a publication was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishFault {
    /// No queue takes it.
    #[error("no queue takes messages for exchange {exchange:?} with key {routing_key:?}")]
    Unroutable {
        /// Where it went.
        exchange: String,
        /// With which key.
        routing_key: String,
    },
    /// The broker refuses it, again and again.
    #[error("the broker refuses the message: {reason}")]
    Refused {
        /// The broker's words.
        reason: String,
    },
    /// The publisher is closed; whether the broker has it is unknown.
    #[error("the publisher is closed")]
    Closed,
}

type Outcome = Result<(), PublishFault>;

struct Job {
    publication: Publication,
    done: oneshot::Sender<Outcome>,
    /// When the broker first nacked it.
    nacked: Option<Instant>,
    /// A window with it broke its channel: to be published alone, so that it breaks no other.
    alone: bool,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Notify,
    /// Taken and not settled.
    in_flight: AtomicUsize,
}

/// Publishes with confirms over the publishing connection. Clones share it.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

impl Publisher {
    /// Spawns `channels` tasks that publish windows of at most `window`.
    pub(super) fn start(
        channels: usize,
        window: usize,
        state: &watch::Receiver<LinkState>,
        stop: &CancellationToken,
    ) -> (Publisher, Vec<tokio::task::JoinHandle<()>>) {
        let shared = Arc::new(Shared::default());
        let tasks = (0..channels.max(1)).map(|_| {
            let task = Task {
                shared: Arc::clone(&shared),
                state: state.clone(),
                window: window.max(1),
                stop: stop.clone(),
            };
            tokio::spawn(task.run())
        });
        let tasks = tasks.collect();
        (Publisher { shared }, tasks)
    }

    /// Publishes; resolves when the broker has confirmed it. Survives reconnects: what was not confirmed is
    /// sent again, so the broker may get it twice. While the broker takes nothing, this waits.
    ///
    /// # Errors
    /// The broker will not take it, or the publisher was closed.
    pub async fn publish(&self, publication: Publication) -> Result<(), PublishFault> {
        let (done, outcome) = oneshot::channel();
        {
            let mut queue = self.shared.lock();
            if queue.closed {
                return Err(PublishFault::Closed);
            }
            queue.jobs.push_back(Job {
                publication,
                done,
                nacked: None,
                alone: false,
            });
        }
        self.shared.arrived.notify_one();
        outcome.await.unwrap_or(Err(PublishFault::Closed))
    }

    /// Publications that are not confirmed yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().jobs.len() + self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Takes no more; what waits fails with [`PublishFault::Closed`].
    pub(super) fn close(&self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.jobs.clear();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next window: up to `most`, or one that must go alone.
    fn take(&self, most: usize) -> Vec<Job> {
        let mut queue = self.lock();
        let mut window = Vec::new();
        while window.len() < most {
            let Some(job) = queue.jobs.front() else { break };
            if job.alone && !window.is_empty() {
                break;
            }
            let alone = job.alone;
            let Some(job) = queue.jobs.pop_front() else {
                break;
            };
            // whoever waited for it has given up, and nothing was sent
            if !job.done.is_closed() {
                window.push(job);
            }
            if alone {
                break;
            }
        }
        let more = !queue.jobs.is_empty();
        self.in_flight.fetch_add(window.len(), Ordering::Relaxed);
        drop(queue);
        if more {
            self.arrived.notify_one();
        }
        window
    }

    /// Back to the front, in order.
    fn put_back(self: &Arc<Self>, jobs: Vec<Job>) {
        let mut queue = self.lock();
        if !queue.closed {
            for job in jobs.into_iter().rev() {
                queue.jobs.push_front(job);
            }
        }
        drop(queue);
        self.arrived.notify_one();
    }

    fn put_back_later(self: &Arc<Self>, jobs: Vec<Job>) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(NACK_PAUSE).await;
            shared.put_back(jobs);
        });
    }
}

struct Task {
    shared: Arc<Shared>,
    state: watch::Receiver<LinkState>,
    window: usize,
    stop: CancellationToken,
}

/// How a window ended.
#[derive(Clone, Copy)]
struct End {
    /// The channel is fit for another.
    whole: bool,
    /// Somebody got an answer.
    settled: bool,
}

impl Task {
    async fn run(mut self) {
        let stop = self.stop.clone();
        let mut backoff = Backoff::default();
        loop {
            let link = tokio::select! {
                () = stop.cancelled() => return,
                link = connected(&mut self.state) => link,
            };
            let Some(link) = link else { return };
            let Some(channel) = open(&link).await else {
                tokio::time::sleep(backoff.next()).await;
                continue;
            };
            if self.serve(&link, &channel).await {
                backoff = Backoff::default();
            } else {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(backoff.next()) => {}
                }
            }
        }
    }

    /// Publishes window after window until the channel breaks; false if nobody got an answer.
    async fn serve(&self, link: &Link, channel: &Channel) -> bool {
        let mut served = false;
        loop {
            // lets tasks that are about to publish join this window
            tokio::task::yield_now().await;
            let window = self.shared.take(self.window);
            if window.is_empty() {
                tokio::select! {
                    () = self.shared.arrived.notified() => continue,
                    () = link.lost.cancelled() => return true,
                    () = self.stop.cancelled() => return true,
                }
            }
            let count = window.len();
            let end = self.publish(link, channel, window).await;
            self.shared.in_flight.fetch_sub(count, Ordering::Relaxed);
            served |= end.settled;
            if !end.whole || !channel.status().connected() {
                return served;
            }
        }
    }

    /// Publishes a window and settles each job of it that can be settled.
    async fn publish(&self, link: &Link, channel: &Channel, window: Vec<Job>) -> End {
        let fates = tokio::select! {
            fates = fates(channel, window.iter().map(|job| &job.publication).collect()) => fates,
            // A lost connection fails its promises; should one be forgotten, this does not wait for it.
            () = async { link.lost.cancelled().await; tokio::time::sleep(WAKE).await } => {
                self.shared.put_back(window);
                return End { whole: false, settled: false };
            }
        };
        let (mut again, mut later) = (Vec::new(), Vec::new());
        let (mut whole, mut settled) = (true, false);
        for (mut job, fate) in window.into_iter().zip(fates) {
            let outcome = match fate {
                Fate::Ack => Ok(()),
                Fate::Unroutable => Err(PublishFault::Unroutable {
                    exchange: job.publication.exchange,
                    routing_key: job.publication.routing_key,
                }),
                Fate::Nack => {
                    if job.nacked.get_or_insert_with(Instant::now).elapsed() < NACK_PATIENCE {
                        later.push(job);
                        continue;
                    }
                    let reason = "nacked for 10 s; is a queue full, or its quorum lost?".into();
                    Err(PublishFault::Refused { reason })
                }
                Fate::Failed(error) => {
                    whole = false;
                    // With the connection alive it was a message that broke the channel: which one shows
                    // when each goes alone.
                    let blamed = link.alive() && error.is_amqp_soft_error();
                    if !(blamed && job.alone) {
                        job.alone |= blamed;
                        again.push(job);
                        continue;
                    }
                    let reason = error.to_string();
                    Err(PublishFault::Refused { reason })
                }
            };
            settled = true;
            let _ = job.done.send(outcome);
        }
        if !again.is_empty() {
            self.shared.put_back(again);
        }
        if !later.is_empty() {
            self.shared.put_back_later(later);
        }
        End { whole, settled }
    }
}

async fn open(link: &Link) -> Option<Channel> {
    let channel = link.channel().await.ok()?;
    let selecting = channel.confirm_select(ConfirmSelectOptions::default());
    tokio::select! {
        selected = selecting => selected.ok()?,
        () = link.lost.cancelled() => return None,
    }
    Some(channel)
}
