//! One channel's subscriptions to a queue: as many consumers as the credit has grown by, one ledger.

mod quiesce;

use crate::broker::budget::Budget;
use crate::broker::connection::{Backoff, Link, PATIENCE};
use crate::broker::consumer::{Delivery, Session, bounded, lock, sleep_until};
use crate::broker::credit::{Credit, Step};
use crate::broker::demand::{Demand, Usage};
use crate::broker::gather::{CHUNK, End, Subscription, gather};
use crate::broker::ledger::{COALESCE, Ledger};
use crate::broker::properties::short;
use crate::broker::ward::Place;
use lapin::Channel;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quiesce::Quiesce;

/// Credit grows only by what is settled within this: a quiesce waits until the broker has filled it.
const PERIOD: Duration = Duration::from_millis(500);
/// So long may replies take before more is asked for in place of the deliveries that wait for them.
const REPLIED: Duration = Duration::from_millis(100);
/// Why a queue is not consumed though nothing is amiss with it.
const ALONE: &str = "requests that workers died with, of this queue or another, run one by one";
/// A shorter chunk than this under a backlog means that the task wakes too often.
const SHORT: usize = 64;

/// Why a channel is done with, though it could be used.
#[derive(Clone, Copy)]
pub(super) enum Over {
    Stopped,
    /// Nothing came for long, or at all.
    Idle {
        all_along: bool,
    },
}

/// Consuming over one channel.
pub(super) struct Consuming<'a> {
    session: &'a Session,
    link: &'a Arc<Link>,
    channel: Channel,
    ledger: Arc<Ledger>,
    credit: Credit<Box<Delivery>>,
    place: Place,
    period_began: Instant,
    /// Idle for so long, the channel is exchanged for another.
    idle: Duration,
    opened: Instant,
    /// When something came or was settled last.
    active: Option<Instant>,
    renewing: bool,
    /// Since when all that the broker sends waits for its replies.
    unreplied: Option<Instant>,
    subscriptions: Vec<Subscription>,
    /// The first delivery's tag that may be of these.
    first: u64,
    /// For consumer tags: one is never used again on a channel (RabbitMQ's channel would crash).
    tags: u32,
    quiesce: Quiesce,
    flush_at: Option<Instant>,
    nap_until: Option<Instant>,
    retry: (Instant, Backoff),
}

impl<'a> Consuming<'a> {
    pub(super) async fn open(
        session: &'a Session,
        link: &'a Arc<Link>,
        idle: Duration,
    ) -> Result<Self, String> {
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
            credit: Credit::new(
                options.prefetch_max,
                options.wanted.demand(Usage::default()),
                budget,
            ),
            place: session.task.ward.enter(Instant::now()),
            period_began: Instant::now(),
            idle,
            opened: Instant::now(),
            active: None,
            renewing: false,
            unreplied: None,
            subscriptions: Vec::new(),
            first: 1,
            tags: 0,
            quiesce: Quiesce::No,
            flush_at: None,
            nap_until: None,
            retry: (Instant::now(), Backoff::default()),
        })
    }

    /// Until told to stop, for so long that it is idle, or until the channel is of no more use.
    pub(super) async fn run(&mut self) -> Result<Over, String> {
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

    async fn work(&mut self) -> Result<Over, String> {
        let mut chunk = Vec::with_capacity(CHUNK);
        let (stop, drain) = (&self.session.task.stop, &self.session.drain);
        let mut draining = false;
        loop {
            if self.act().await? {
                let all_along = self.active.is_none();
                return Ok(Over::Idle { all_along });
            }
            let wake = self.next_wake();
            let napping = self.nap_until.is_some();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Over::Stopped),
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
                () = self.place.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Sends what is due and follows the credit as far as it goes; true once the channel is to be exchanged, and
    /// nothing of it is in hand.
    async fn act(&mut self) -> Result<bool, String> {
        let now = Instant::now();
        self.nap_until = self.nap_until.filter(|until| *until > now);
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = self.ledger.flush(now);
        }
        if self.period_began + PERIOD <= now {
            self.period_began = now;
            let former = self.ledger.in_hand_before(self.first);
            self.credit.period(self.demand(), former);
        }
        let settled = self.ledger.take_settled();
        if settled.count > 0 || self.credit.in_hand() > 0 {
            self.active = Some(now);
        }
        self.credit.settled(settled);
        if self.idle_at().is_some_and(|at| at <= now) {
            self.renewing = true;
            self.credit.renew();
        }
        self.wait_for_replies(now);
        loop {
            if self.renewing && self.credit.is_spent() {
                return Ok(true);
            }
            // In this order: a verdict that comes meanwhile is either counted here or told of.
            self.ledger.watch(self.credit.is_careful());
            self.credit.settled(self.ledger.take_settled());
            self.look_around(now);
            match self.credit.next() {
                Step::Wait => break,
                Step::Hand(delivery) => {
                    // First: the last that was held back is as old as it was until then.
                    self.ledger.handed(&delivery.receipt, Instant::now());
                    self.show();
                    self.hand(delivery);
                }
                // How many rows requests have, say, may be known only since some have come.
                Step::Subscribe(_) if self.credit.want(self.demand()) => {}
                // That it opens is told first: nobody hands out a suspect as if it were closed.
                Step::Subscribe(_) if self.look_around(now) => {}
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
        if self.credit.is_closed() && self.credit.held() == 0 {
            self.session.drained.send_if_modified(|drained| {
                let changed = !*drained && self.session.drain.is_cancelled();
                *drained |= changed;
                changed
            });
        }
        Ok(false)
    }

    fn demand(&self) -> Demand {
        let usage = Usage {
            in_hand: self.credit.in_hand(),
            open: self.credit.open().into(),
            trip: self.ledger.trip(Instant::now()),
        };
        self.session.task.options.wanted.demand(usage)
    }

    /// Tells the other queues how this one stands; whether they have suspects.
    fn look_around(&mut self, now: Instant) -> bool {
        let others = self.place.tell(self.credit.stand(), now);
        self.credit.beside(others);
        others.suspects
    }

    fn wait_for_replies(&mut self, now: Instant) {
        let unacked = || self.ledger.unacked(self.first);
        let waits = self.credit.awaits_replies(unacked);
        self.unreplied = waits.then(|| self.unreplied.unwrap_or(now));
        if self.unreplied.is_some_and(|since| since + REPLIED <= now) {
            self.credit.replace();
        }
    }

    /// When the channel is to be exchanged if nothing happens.
    fn idle_at(&self) -> Option<Instant> {
        let stays = self.renewing || self.session.drain.is_cancelled() || self.credit.open() == 0;
        (!stays && self.credit.in_hand() == 0)
            .then(|| self.active.unwrap_or(self.opened) + self.idle)
    }

    fn show(&self) {
        let (shared, open) = (&self.session.shared, self.credit.open());
        shared.credit.store(open.into(), Ordering::Relaxed);
        shared.subscribed.store(open > 0, Ordering::Relaxed);
        shared.held.store(self.credit.held(), Ordering::Relaxed);
        if self.credit.waits_for_suspects() {
            *lock(&shared.reason) = Some(ALONE.to_owned());
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let retry = (self.credit.open() == 0).then_some(self.retry.0);
        let retry = retry.filter(|at| *at > Instant::now());
        [
            self.flush_at,
            self.nap_until,
            self.quiesce.until(&self.session.drain),
            // Nobody is told of verdicts while there is no suspect.
            (self.credit.is_full()).then(|| Instant::now() + REPLIED),
            retry,
            self.idle_at(),
            self.place.again(),
        ]
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
        // Where something came amid an exchange, the channel stays.
        self.renewing = false;
        self.ledger.credit(self.credit.open());
        self.retry = (Instant::now(), Backoff::default());
        *lock(&self.session.shared.reason) = None;
        Ok(true)
    }

    fn ended(&mut self, end: End) -> Result<(), String> {
        let place = match end {
            End::Broken(reason) => return Err(reason),
            End::At(place) => place,
        };
        let ended = self.subscriptions.remove(place);
        if self.subscriptions.is_empty() {
            self.first = self.ledger.next_tag();
        }
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
        if let Quiesce::Since { last, .. } = &mut self.quiesce {
            *last = now;
        }
        let shared = &self.session.shared;
        shared.delivered.fetch_add(1, Ordering::Relaxed);
        let (tag, bytes) = (message.delivery_tag, message.data.len());
        let again = u64::from(message.redelivered);
        shared.redelivered.fetch_add(again, Ordering::Relaxed);
        let blemish = self.link.marks.take(self.channel.id(), tag);
        let (receipt, settled) = self.ledger.enter(tag, bytes, now);
        let delivery = Delivery::of(message, &self.session.queue, (receipt, now), blemish);
        let suspicion = delivery.suspicion();
        let key = if suspicion > 0 { delivery.key() } else { 0 };
        // What was acknowledged before this came must be counted before it.
        self.credit.settled(settled);
        if let Some(delivery) = self.credit.delivered(delivery, bytes, suspicion, key) {
            self.hand(delivery);
        }
        // The channel works, and to quiesce while more comes would be to hold acknowledgements back.
        if self.renewing && matches!(self.quiesce, Quiesce::Since { .. }) && self.credit.stay() {
            self.renewing = false;
            self.quiesce = Quiesce::No;
            self.ledger.hold(false);
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
