//! Publishing with confirms: a few tasks that each own one confirm channel and take what waits, a window at a
//! time. What was not confirmed when a channel broke goes again.

mod pausing;
mod under_way;

use crate::broker::connection::{Backoff, Link, LinkState, PATIENCE, connected};
use crate::broker::outbox::{Job, Lane, Outbox};
use crate::broker::outgoing::Outgoing;
use crate::broker::waiter::{Then, Waiter};
use crate::broker::window::{Fate, fates};
use bytes::Bytes;
use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, ErrorKind};
use metrics::Counter;
use pausing::put_back_after;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use under_way::UnderWay;

/// How long a confirm may take while the broker takes publications at all.
const CONFIRM: Duration = Duration::from_secs(5);
/// Others do not wait for a window whose confirms take longer.
const SLOW: Duration = Duration::from_millis(100);
/// So many destinations in trouble are served at a time: one that confirms nothing takes 5 s for each window.
const SIDE: usize = 4;
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
    pub properties: Outgoing,
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
    /// The broker refuses it, or does not confirm it, again and again for 10 s; or it breaks channels.
    #[error("the broker does not take the message: {reason}")]
    Refused {
        /// The broker's words.
        reason: String,
    },
    /// The publisher is closed; whether the broker has it is unknown.
    #[error("the publisher is closed")]
    Closed,
}

/// When it was written, of what the broker has confirmed.
pub(super) type Outcome = Result<Instant, PublishFault>;

struct Shared {
    outbox: Outbox,
    /// Taken and neither settled nor put back.
    in_flight: AtomicUsize,
    /// Tasks that publish.
    tasks: AtomicUsize,
    published: Counter,
}

/// Publishes with confirms over the publishing connection. Clones share it.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

impl Publisher {
    /// Spawns `channels` tasks that publish windows of at most `window`, and some for what is in trouble.
    pub(super) fn start(
        channels: usize,
        window: usize,
        state: &watch::Receiver<LinkState>,
        stop: &CancellationToken,
        published: Counter,
    ) -> (Publisher, Vec<tokio::task::JoinHandle<()>>) {
        let shared = Arc::new(Shared {
            outbox: Outbox::default(),
            in_flight: AtomicUsize::new(0),
            tasks: AtomicUsize::new(channels.max(1) + SIDE + 1),
            published,
        });
        let lanes = std::iter::repeat_n(Lane::Main, channels.max(1));
        let lanes = lanes.chain([Lane::Side; SIDE]).chain([Lane::Alone]);
        let tasks = lanes.map(|lane| {
            let task = Task {
                shared: Arc::clone(&shared),
                lane,
                state: state.clone(),
                window: window.max(1),
                stop: stop.clone(),
            };
            tokio::spawn(task.run())
        });
        let tasks = tasks.collect();
        (Publisher { shared }, tasks)
    }

    /// Queues for publishing; resolves when the broker has confirmed it. Survives reconnects: what was not confirmed
    /// is sent again, so the broker may get it twice. While the broker takes nothing, this waits. Dropped before a
    /// publisher takes it, it is not sent.
    ///
    /// # Errors
    /// The broker will not take it, or the publisher was closed.
    pub fn publish(
        &self,
        publication: Publication,
    ) -> impl Future<Output = Result<(), PublishFault>> + Send + use<> {
        let (done, outcome) = oneshot::channel();
        self.shared.outbox.push(publication, Waiter::Task(done));
        async move {
            let outcome = outcome.await.unwrap_or(Err(PublishFault::Closed));
            outcome.map(|_written| ())
        }
    }

    /// The same, but nobody waits: `then` is called once, with the outcome, by whoever knows it (the publisher; with
    /// [`PublishFault::Closed`], this very call as well). It must not block. Of what the broker has confirmed, it hears
    /// when the frames were written to the connection's socket, the last time if they were sent again; those of one
    /// window, of up to `broker.window` messages, count as written with its last.
    pub fn publish_then(
        &self,
        publication: Publication,
        then: impl FnOnce(Result<Instant, PublishFault>) + Send + 'static,
    ) {
        let then = Waiter::Then(Then::new(then));
        self.shared.outbox.push(publication, then);
    }

    /// Publications that are not confirmed yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.outbox.waiting() + self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Destinations that refuse what is published to them, or do not confirm it.
    #[must_use]
    pub fn sick(&self) -> usize {
        self.shared.outbox.sick()
    }

    /// Takes no more; what waits fails with [`PublishFault::Closed`].
    pub(super) fn close(&self) {
        self.shared.outbox.close();
    }
}

struct Task {
    shared: Arc<Shared>,
    lane: Lane,
    state: watch::Receiver<LinkState>,
    window: usize,
    stop: CancellationToken,
}

impl Drop for Task {
    /// With the last one, nothing is published any more: nobody may wait for that, nor be kept by it.
    fn drop(&mut self) {
        if self.shared.tasks.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.shared.outbox.close();
        }
    }
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
                self.look_back(&link);
                tokio::time::sleep(backoff.next()).await;
                continue;
            };
            let served = self.serve(&link, &channel).await;
            self.look_back(&link);
            if served {
                backoff = Backoff::default();
            } else {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(backoff.next()) => {}
                }
            }
            if channel.status().connected() {
                // What it never confirmed is forgotten with it.
                let closing = async move { channel.close(200, "bye".into()).await };
                tokio::spawn(tokio::time::timeout(PATIENCE, closing));
            }
        }
    }

    /// With a connection goes what is known of destinations; one task sees to that.
    fn look_back(&self, link: &Link) {
        if self.lane == Lane::Alone && !link.alive() {
            self.shared.outbox.forget_trouble();
        }
    }

    /// Publishes window after window until the channel is of no more use; false if nobody got an answer.
    async fn serve(&self, link: &Link, channel: &Channel) -> bool {
        let outbox = &self.shared.outbox;
        let mut served = false;
        loop {
            // lets tasks that are about to publish join this window
            tokio::task::yield_now().await;
            let window = outbox.take(self.lane, self.window);
            if window.is_empty() {
                tokio::select! {
                    () = outbox.arrival(self.lane) => continue,
                    () = link.lost.cancelled() => return true,
                    () = self.stop.cancelled() => return true,
                }
            }
            let mut under_way = UnderWay::of(&self.shared, self.lane, &window);
            let mut publishing = pin!(self.publish(link, channel, window));
            let end = tokio::select! {
                end = &mut publishing => end,
                () = tokio::time::sleep(SLOW) => {
                    under_way.make_way();
                    publishing.await
                }
            };
            drop(under_way);
            served |= end.settled;
            if !end.whole || !channel.status().connected() {
                return served;
            }
        }
    }

    /// Publishes a window and settles each job of it that can be settled.
    async fn publish(&self, link: &Link, channel: &Channel, window: Vec<Job>) -> End {
        let outbox = &self.shared.outbox;
        let publications = window.iter().map(|job| &*job.publication).collect();
        let patience = async {
            tokio::select! {
                () = self.patience() => {}
                // A lost connection fails its promises; should one be forgotten, this does not wait for it.
                () = async { link.lost.cancelled().await; tokio::time::sleep(WAKE).await } => {}
            }
        };
        let (written, fates) = fates(channel, &link.written, publications, patience).await;
        let mut again = Vec::new();
        let (mut whole, mut settled) = (true, false);
        for (job, fate) in window.into_iter().zip(fates) {
            match fate {
                Fate::Ack => {
                    self.shared.published.increment(1);
                    outbox.taken(job, written);
                    settled = true;
                }
                Fate::Unroutable => {
                    outbox.unroutable(job);
                    settled = true;
                }
                Fate::Nack => {
                    // A channel that published to a quorum queue amid an election is nacked by it for ever.
                    whole = false;
                    self.later_or_never(job, "nacked; is a queue full, or its quorum lost?");
                    settled = true;
                }
                Fate::Silent => {
                    whole = false;
                    if link.alive() {
                        let reason = "not confirmed in time; has a queue lost its quorum?";
                        settled |= self.later_or_never(job, reason);
                    } else {
                        again.push(job);
                    }
                }
                Fate::Failed(error) => {
                    whole = false;
                    if is_about_a_message(&error) {
                        settled |= outbox.broke(job, &error.to_string());
                    } else {
                        again.push(job);
                    }
                }
            }
        }
        outbox.put_back(again);
        End { whole, settled }
    }

    /// Ends when a confirm is overdue. A broker that takes no publications confirms none either.
    async fn patience(&self) {
        let mut state = self.state.clone();
        loop {
            let flowing = state.wait_for(|state| state.blocked.is_none());
            if flowing.await.is_err() {
                return;
            }
            let blocked = state.wait_for(|state| state.blocked.is_some());
            let Ok(Ok(_)) = tokio::time::timeout(CONFIRM, blocked).await else {
                return;
            };
        }
    }

    /// It was not taken for this reason: true where it is given up.
    fn later_or_never(&self, job: Job, reason: &str) -> bool {
        let Some((job, pause)) = self.shared.outbox.not_taken(job, reason) else {
            return true;
        };
        put_back_after(pause, job, &self.shared);
        false
    }
}

/// Whether the broker closed a channel or the connection over something it was sent, and not because it, or
/// an operator, wanted to.
fn is_about_a_message(error: &lapin::Error) -> bool {
    const CONNECTION_FORCED: u16 = 320;
    let ErrorKind::ProtocolError(broker) = error.kind() else {
        return false;
    };
    broker.get_id() != CONNECTION_FORCED
}

async fn open(link: &Link) -> Option<Channel> {
    let channel = link.channel().await.ok()?;
    let selecting = channel.confirm_select(ConfirmSelectOptions::default());
    tokio::select! {
        selected = tokio::time::timeout(PATIENCE, selecting) => selected.ok()?.ok()?,
        () = link.lost.cancelled() => return None,
    }
    Some(channel)
}

#[cfg(test)]
pub(super) mod tests;
