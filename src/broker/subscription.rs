//! One channel's subscriptions to a queue: as many consumers as the credit has grown by, one ledger.

use crate::broker::budget::Budget;
use crate::broker::connection::{Backoff, Link, PATIENCE};
use crate::broker::consumer::{Delivery, Session, bounded, lock};
use crate::broker::credit::{Credit, Step};
use crate::broker::gather::{CHUNK, End, Subscription, gather};
use crate::broker::properties::{Properties, short};
use crate::broker::receipt::{COALESCE, GAP, Ledger};
use crate::broker::screen::Blemish;
use futures::future::join_all;
use lapin::Channel;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// While quiescing: after so long without a delivery none is under way. 25 ms is known to be too short.
const SILENCE: Duration = Duration::from_millis(250);
/// Credit grows only by what is settled within this: a quiesce waits until the broker has filled it.
const PERIOD: Duration = Duration::from_millis(500);
/// A shorter chunk than this under a backlog means that the task wakes too often.
const SHORT: usize = 64;

#[derive(Clone, Copy)]
enum Quiesce {
    No,
    /// Acknowledgements are held; the last delivery came then.
    Since(Instant),
    /// Cancelled but for so many: the rest is on its way.
    Cancelled(usize),
}

/// Consuming over one channel.
pub(super) struct Consuming<'a> {
    session: &'a Session,
    link: &'a Arc<Link>,
    channel: Channel,
    ledger: Arc<Ledger>,
    credit: Credit<Box<Delivery>>,
    period_began: Instant,
    subscriptions: Vec<Subscription>,
    /// For consumer tags: one is never used again on a channel (RabbitMQ's channel would crash).
    tags: u32,
    quiesce: Quiesce,
    flush_at: Option<Instant>,
    nap_until: Option<Instant>,
    retry: (Instant, Backoff),
}

impl<'a> Consuming<'a> {
    pub(super) async fn open(session: &'a Session, link: &'a Arc<Link>) -> Result<Self, String> {
        let channel = link.channel().await?;
        let options = &session.task.options;
        let budget = Budget::new(options.in_flight_bytes, options.expected_bytes);
        let ledger = Ledger::new(channel.clone(), Arc::clone(&session.shared.dropped));
        *lock(&session.shared.ledger) = Some(Arc::clone(&ledger));
        Ok(Consuming {
            session,
            link,
            channel,
            ledger,
            credit: Credit::new(options.prefetch_max, options.wanted.count(), budget),
            period_began: Instant::now(),
            subscriptions: Vec::new(),
            tags: 0,
            quiesce: Quiesce::No,
            flush_at: None,
            nap_until: None,
            retry: (Instant::now(), Backoff::default()),
        })
    }

    /// Until told to stop (`Ok`) or the channel is of no more use.
    pub(super) async fn run(&mut self) -> Result<(), String> {
        let end = self.work().await;
        for held in self.credit.abandon() {
            held.receipt.requeue();
        }
        self.ledger.hold(false);
        if end.is_ok()
            && let Err(reason) = self.settle().await
        {
            tracing::warn!(
                queue = &*self.session.queue,
                reason,
                "may be delivered again"
            );
        }
        self.ledger.close();
        if self.link.alive() {
            let closing = self.channel.close(200, "bye".into());
            let _ = tokio::time::timeout(PATIENCE, closing).await;
        }
        end
    }

    /// Waits until the queue has what is acknowledged. RabbitMQ (3.10, by its source) keeps acknowledgements of a
    /// channel that has 32 under way to a quorum queue, and forgets them when the channel closes. Cancelling goes
    /// through the queue's log, behind those under way; by the next answer of the queue the channel has passed on
    /// what it kept. That takes a consumer that is still there, and is full, so that nothing comes meanwhile.
    async fn settle(&mut self) -> Result<(), String> {
        self.ledger.flush(Instant::now() + GAP);
        let settling = async {
            let Some(first) = self.subscriptions.first() else {
                return Ok(());
            };
            let options = BasicCancelOptions::default();
            let cancelling = self.channel.basic_cancel(first.tag.clone(), options);
            cancelling.await?;
            let passive = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let queue = short(&self.session.queue);
            let looking = self
                .channel
                .queue_declare(queue, passive, FieldTable::default());
            looking.await.map(drop)
        };
        let settled = bounded(self.link, settling).await;
        self.ledger.release();
        settled?.map_err(|error: lapin::Error| error.to_string())
    }

    async fn work(&mut self) -> Result<(), String> {
        let mut chunk = Vec::with_capacity(CHUNK);
        let (stop, drain) = (&self.session.task.stop, &self.session.drain);
        let mut draining = false;
        loop {
            self.act().await?;
            let wake = self.next_wake();
            let napping = self.nap_until.is_some();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.link.lost.cancelled() => return Err("the connection is gone".into()),
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    self.credit.drain();
                }
                end = gather(&mut self.subscriptions, &mut chunk), if !napping => {
                    let count = chunk.len();
                    for (place, message) in chunk.drain(..) {
                        self.arrived(place, message);
                    }
                    if let Some(end) = end {
                        self.ended(end)?;
                    }
                    self.nap(count);
                }
                () = self.ledger.changed.notified() => {
                    let soon = Instant::now() + COALESCE;
                    self.flush_at = Some(self.flush_at.map_or(soon, |at| at.min(soon)));
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Sends what is due and follows the credit as far as it goes.
    async fn act(&mut self) -> Result<(), String> {
        let now = Instant::now();
        self.nap_until = self.nap_until.filter(|until| *until > now);
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = self.ledger.flush(now);
        }
        if self.period_began + PERIOD <= now {
            self.period_began = now;
            self.credit.period(self.session.task.options.wanted.count());
        }
        self.credit.settled(self.ledger.take_settled());
        loop {
            match self.credit.next() {
                Step::Wait => break,
                Step::Hand(delivery) => {
                    self.show();
                    self.hand(delivery);
                }
                Step::Subscribe(prefetch) => {
                    if !self.subscribe(prefetch).await? {
                        break;
                    }
                }
                Step::Quiesce => {
                    if !self.quiesce().await? {
                        break;
                    }
                }
            }
        }
        self.show();
        if self.credit.is_closed() {
            self.session.drained.send_if_modified(|drained| {
                let changed = !*drained && self.session.drain.is_cancelled();
                *drained |= changed;
                changed
            });
        }
        Ok(())
    }

    fn show(&self) {
        let (shared, open) = (&self.session.shared, self.credit.open());
        shared.credit.store(open.into(), Ordering::Relaxed);
        shared.subscribed.store(open > 0, Ordering::Relaxed);
        shared.held.store(self.credit.held(), Ordering::Relaxed);
    }

    fn next_wake(&self) -> Option<Instant> {
        let silence = match self.quiesce {
            Quiesce::Since(last) => Some(last + SILENCE),
            Quiesce::No | Quiesce::Cancelled(_) => None,
        };
        let retry = (self.credit.open() == 0).then_some(self.retry.0);
        let retry = retry.filter(|at| *at > Instant::now());
        [self.flush_at, self.nap_until, silence, retry]
            .into_iter()
            .flatten()
            .min()
    }

    /// Adds a consumer; false if that must be tried again later.
    async fn subscribe(&mut self, prefetch: u16) -> Result<bool, String> {
        if self.credit.open() == 0 {
            if Instant::now() < self.retry.0 {
                return Ok(false);
            }
            // A queue that is missing would cost this channel, and with it what is in hand.
            if let Err(reason) = self.session.ensure(self.link).await {
                tracing::warn!(queue = &*self.session.queue, reason, "not consuming");
                *lock(&self.session.shared.reason) = Some(reason);
                self.retry.0 = Instant::now() + self.retry.1.next();
                return Ok(false);
            }
        }
        self.tags += 1;
        let tag = short(&format!("inferq-{}", self.tags));
        let subscribing = async {
            let qos = BasicQosOptions::default();
            self.channel.basic_qos(prefetch, qos).await?;
            let (queue, options) = (short(&self.session.queue), BasicConsumeOptions::default());
            self.channel
                .basic_consume(queue, tag.clone(), options, FieldTable::default())
                .await
        };
        let stream = bounded(self.link, subscribing)
            .await?
            .map_err(|error| error.to_string())?;
        self.subscriptions.push(Subscription {
            tag,
            prefetch,
            stream,
            last: 0,
        });
        self.credit.subscribed(prefetch);
        self.ledger.credit(self.credit.open());
        self.retry = (Instant::now(), Backoff::default());
        *lock(&self.session.shared.reason) = None;
        Ok(true)
    }

    /// Cancels all consumers so that no message is under way meanwhile: the broker would count it as
    /// delivered. False until that is done. To drain, one that may have a single delivery stays: see
    /// [`settle`](Self::settle).
    async fn quiesce(&mut self) -> Result<bool, String> {
        let now = Instant::now();
        let staying = match self.quiesce {
            Quiesce::No if self.subscriptions.is_empty() => 0,
            Quiesce::No => {
                self.ledger.hold(true);
                self.quiesce = Quiesce::Since(now);
                return Ok(false);
            }
            Quiesce::Since(last) => {
                let full = self.ledger.unacked() >= usize::from(self.credit.open());
                if !full && last + SILENCE > now {
                    return Ok(false);
                }
                self.cancel().await?
            }
            Quiesce::Cancelled(staying) => staying,
        };
        if self.subscriptions.len() > staying {
            return Ok(false);
        }
        self.quiesce = Quiesce::No;
        self.ledger.hold(false);
        self.flush_at = Some(now + COALESCE);
        self.credit.closed();
        Ok(true)
    }

    /// Cancels the consumers but for one that stays; how many stay. It is full to the end: its one delivery is not
    /// settled at the broker until then. While suspects wait to run alone nothing else may be unsettled.
    async fn cancel(&mut self) -> Result<usize, String> {
        let first = self.subscriptions.first().filter(|first| {
            self.session.drain.is_cancelled()
                && first.prefetch == 1
                && self.credit.held() == 0
                && self.ledger.is_unsettled(first.last)
        });
        if let Some(first) = first {
            self.ledger.keep(first.last);
        }
        let staying = usize::from(first.is_some());
        let cancelled = self.subscriptions.iter().skip(staying);
        let cancelling = cancelled.map(|subscription| {
            let options = BasicCancelOptions::default();
            self.channel.basic_cancel(subscription.tag.clone(), options)
        });
        for cancelled in bounded(self.link, join_all(cancelling)).await? {
            cancelled.map_err(|error| error.to_string())?;
        }
        self.quiesce = Quiesce::Cancelled(staying);
        Ok(staying)
    }

    fn ended(&mut self, end: End) -> Result<(), String> {
        let place = match end {
            End::Broken(reason) => return Err(reason),
            End::At(place) => place,
        };
        let ended = self.subscriptions.remove(place);
        if !matches!(self.quiesce, Quiesce::Cancelled(_)) {
            // the queue was deleted, or has lost its leader
            self.credit.lost(ended.prefetch);
        }
        Ok(())
    }

    fn arrived(&mut self, place: usize, message: lapin::message::Delivery) {
        let now = Instant::now();
        if let Some(subscription) = self.subscriptions.get_mut(place) {
            subscription.last = message.delivery_tag;
        }
        if let Quiesce::Since(last) = &mut self.quiesce {
            *last = now;
        }
        let shared = &self.session.shared;
        shared.delivered.fetch_add(1, Ordering::Relaxed);
        let (tag, redelivered) = (message.delivery_tag, message.redelivered);
        let again = u64::from(redelivered);
        shared.redelivered.fetch_add(again, Ordering::Relaxed);
        let blemish = self.link.marks.take(self.channel.id(), tag);
        let mut properties = Properties(message.properties);
        if blemish == Some(Blemish::ReplyTo) {
            properties = properties.with_reply_to("");
        }
        let bytes = message.data.len();
        let (receipt, settled) = self.ledger.enter(tag, bytes, now);
        let delivery = Box::new(Delivery {
            body: message.data.into(),
            exchange: message.exchange.into(),
            routing_key: message.routing_key.into(),
            queue: Arc::clone(&self.session.queue),
            redelivered,
            // a first delivery has none: such a header on it is the producer's own
            delivery_count: if redelivered {
                properties.delivery_count()
            } else {
                0
            },
            blemish,
            received: now,
            receipt,
            properties,
        });
        let count = delivery.delivery_count;
        let key = if count > 0 { delivery.key() } else { 0 };
        // What was acknowledged before this came must be counted before it.
        self.credit.settled(settled);
        if let Some(delivery) = self.credit.delivered(delivery, bytes, count, key) {
            self.hand(delivery);
        }
    }

    fn hand(&self, delivery: Box<Delivery>) {
        (self.session.task.handler)(delivery);
    }

    /// Under a backlog, deliveries that trickle in wait a moment for others to come with: fewer wake-ups,
    /// and nobody's latency, as there is more in hand than can be done meanwhile.
    fn nap(&mut self, count: usize) {
        let open = usize::from(self.credit.open());
        if count < SHORT && open >= SHORT && self.credit.in_hand() * 2 >= open {
            self.nap_until = Some(Instant::now() + COALESCE);
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
