//! Giving consumers up so that the broker counts no delivery that nobody saw, and loses no acknowledgement.

use super::Consuming;
use crate::broker::consumer::bounded;
use crate::broker::ledger::{COALESCE, GAP};
use crate::broker::properties::short;
use futures::future::join_all;
use lapin::options::{BasicCancelOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// After so long without a delivery the queue is asked whether it has more. Where it has none, none is under way; 25 ms
/// without asking are known to be too short, and 250 are where the broker's disk is slow.
const SILENCE: Duration = Duration::from_millis(250);
/// A credit that is not filled within this is far larger than what comes: next to nothing is under way at any time,
/// and whoever waits to run alone, and all acknowledgements with it, waits no longer.
const LONGEST: Duration = Duration::from_secs(2);
/// The same where it is to drain: nobody waits, and what the broker counts was to be none of the drain's.
const LONGEST_DRAINING: Duration = Duration::from_secs(10);

/// How far a quiesce is.
#[derive(Clone, Copy)]
pub(super) enum Quiesce {
    No,
    /// Acknowledgements are held since `began`; the last delivery came then.
    Since {
        began: Instant,
        last: Instant,
    },
    /// Cancelled but for so many: the rest is on its way.
    Cancelled(usize),
}

impl Quiesce {
    /// When to cancel though the credit is not full.
    pub(super) fn until(self, drain: &CancellationToken) -> Option<Instant> {
        match self {
            Quiesce::Since { began, last } => Some((last + SILENCE).min(began + longest(drain))),
            Quiesce::No | Quiesce::Cancelled(_) => None,
        }
    }
}

/// How long to wait for a credit to be filled.
fn longest(drain: &CancellationToken) -> Duration {
    if drain.is_cancelled() {
        LONGEST_DRAINING
    } else {
        LONGEST
    }
}

impl Consuming<'_> {
    /// Waits until the queue has what is acknowledged. RabbitMQ (3.10, by its source) keeps acknowledgements of a
    /// channel that has 32 under way to a quorum queue, and forgets them when the channel closes. Cancelling goes
    /// through the queue's log, behind those under way; by the next answer of the queue the channel has passed on
    /// what it kept. That takes a consumer that is still there, and is full, so that nothing comes meanwhile.
    pub(super) async fn settle(&mut self) -> Result<(), String> {
        self.ledger.flush(Instant::now() + GAP);
        let settling = async {
            let Some(first) = self.subscriptions.first() else {
                return Ok(());
            };
            let options = BasicCancelOptions::default();
            let cancelling = self.channel.basic_cancel(first.tag.clone(), options);
            cancelling.await?;
            self.look().await.map(drop)
        };
        let settled = bounded(self.link, settling).await;
        self.ledger.release();
        settled?.map_err(|error: lapin::Error| error.to_string())
    }

    /// Cancels all consumers so that no message is under way meanwhile, but for the little that may be after
    /// [`LONGEST`]: the broker would count it as delivered. False until that is done. To drain, one that may have a
    /// single delivery stays: see [`settle`](Self::settle).
    pub(super) async fn quiesce(&mut self) -> Result<bool, String> {
        let now = Instant::now();
        if matches!(self.quiesce, Quiesce::No) && !self.subscriptions.is_empty() {
            self.ledger.hold(true);
            let (began, last) = (now, now);
            self.quiesce = Quiesce::Since { began, last };
        }
        let staying = match self.quiesce {
            Quiesce::No => 0,
            Quiesce::Since { .. } => {
                let unacked = self.ledger.unacked(self.first);
                let full = unacked >= usize::from(self.credit.open());
                let until = self.quiesce.until(&self.session.drain);
                if !full && until.is_some_and(|until| now < until) {
                    return Ok(false);
                }
                if !full && self.is_owed(now).await? {
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
        self.first = self.ledger.next_tag();
        self.ledger.hold(false);
        self.flush_at = Some(now + COALESCE);
        self.credit.closed();
        Ok(true)
    }

    /// Whether there will come more, though nothing has come for so long: the queue has messages, and what is settled of
    /// those that its consumers may have is still on its way to the queue, or to its disk. What its leader sent before it
    /// answered goes before what it is told next. A leader that does not answer within 250 ms has, by RabbitMQ's word
    /// (3.10, by its source), no messages and no consumers; ours are there.
    async fn is_owed(&mut self, now: Instant) -> Result<bool, String> {
        let longest = longest(&self.session.drain);
        if !matches!(self.quiesce, Quiesce::Since { began, .. } if now < began + longest) {
            return Ok(false);
        }
        let queue = bounded(self.link, self.look()).await?;
        let queue = queue.map_err(|error| error.to_string())?;
        let owed = queue.message_count() > 0 || queue.consumer_count() == 0;
        if let Quiesce::Since { last, .. } = &mut self.quiesce {
            *last = Instant::now();
        }
        Ok(owed)
    }

    /// Asks the queue how it stands.
    async fn look(&self) -> lapin::Result<lapin::Queue> {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = short(&self.session.queue);
        let looking = self
            .channel
            .queue_declare(queue, passive, FieldTable::default());
        looking.await
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
}
