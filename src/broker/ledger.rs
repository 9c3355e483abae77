//! The ledger of a channel, which settles its deliveries in few frames.

mod book;
mod trip;

pub(super) use book::Verdict;

use book::{Book, Frame};

use crate::broker::budget::Settled;
use crate::broker::receipt::Receipt;
use futures::FutureExt;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Acknowledgements wait this long for others to go with: a quorum queue logs an entry for each frame and consumer.
pub(super) const COALESCE: Duration = Duration::from_millis(4);
/// How long a settled tag may be stuck behind an unsettled one.
pub(super) const GAP: Duration = Duration::from_millis(50);

/// The deliveries of one channel.
#[derive(Debug)]
pub(super) struct Ledger {
    channel: Option<Channel>,
    book: Mutex<Book>,
    /// Told when there is something to flush and when nothing is in hand any more.
    pub(super) changed: Notify,
    /// Deliveries whose verdict became known since last asked.
    decided: AtomicUsize,
    /// Whether each of them is to be told of.
    watched: AtomicBool,
    dropped: Arc<AtomicU64>,
}

impl Ledger {
    /// `dropped` counts receipts that were never settled.
    pub(super) fn new(channel: Channel, dropped: Arc<AtomicU64>) -> Arc<Ledger> {
        Arc::new(Ledger::over(Some(channel), dropped))
    }

    /// One that sends nothing.
    #[cfg(feature = "fuzzing")]
    pub(super) fn without_channel(dropped: Arc<AtomicU64>) -> Arc<Ledger> {
        Arc::new(Ledger::over(None, dropped))
    }

    fn over(channel: Option<Channel>, dropped: Arc<AtomicU64>) -> Ledger {
        Ledger {
            channel,
            book: Mutex::new(Book::new()),
            changed: Notify::new(),
            decided: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            dropped,
        }
    }

    /// Enters a delivery of so many bytes; its receipt, and what was settled since last asked.
    pub(super) fn enter(
        self: &Arc<Self>,
        tag: u64,
        bytes: usize,
        now: Instant,
    ) -> (Receipt, Settled) {
        let mut book = self.lock();
        book.enter(tag, bytes, now);
        let settled = self.taken(book);
        (Receipt::new(self, tag), settled)
    }

    /// Sends what is due; when there will be more to send.
    pub(super) fn flush(&self, now: Instant) -> Option<Instant> {
        let mut book = self.lock();
        book.flush(now, |frame| self.send(frame));
        book.due()
    }

    /// While held, acknowledgements are kept: the broker sends no more than the open credit.
    pub(super) fn hold(&self, hold: bool) {
        self.lock()
            .hold(hold, Instant::now(), |frame| self.send(frame));
    }

    /// One that was held back is handed out.
    pub(super) fn handed(&self, receipt: &Receipt, now: Instant) {
        self.lock().handed(receipt.tag(), now);
    }

    /// From now on this tag is not settled at the broker until [`release`](Self::release): a consumer that may have
    /// one delivery gets no other.
    pub(super) fn keep(&self, tag: u64) {
        self.lock().keep(tag);
    }

    /// Whether the broker waits for this tag.
    pub(super) fn is_unsettled(&self, tag: u64) -> bool {
        self.lock().is_unsettled(tag)
    }

    /// Sends what was kept.
    pub(super) fn release(&self) {
        self.lock()
            .release(Instant::now(), |frame| self.send(frame));
    }

    /// The broker sends so many before it waits for acknowledgements.
    pub(super) fn credit(&self, open: u16) {
        self.lock().credit(open);
    }

    /// The time within which the broker nearly always sends another in the place of one that was settled; `None` while
    /// that is not known.
    pub(super) fn trip(&self, now: Instant) -> Option<Duration> {
        self.lock().trip(now)
    }

    /// What was settled since last asked.
    pub(super) fn take_settled(&self) -> Settled {
        self.taken(self.lock())
    }

    fn taken(&self, mut book: MutexGuard<'_, Book>) -> Settled {
        let settled = book.take_settled();
        drop(book);
        Settled {
            decided: self.decided.swap(0, Ordering::SeqCst),
            ..settled
        }
    }

    /// From now on [`changed`](Self::changed) tells of each verdict, or does not.
    pub(super) fn watch(&self, watched: bool) {
        self.watched.store(watched, Ordering::SeqCst);
    }

    /// How many are in hand, of the tags before `first`.
    pub(super) fn in_hand_before(&self, first: u64) -> usize {
        self.lock().in_hand_before(first)
    }

    /// How many the broker waits for, of the tags from `first` on.
    pub(super) fn unacked(&self, first: u64) -> usize {
        self.lock().unacked(first)
    }

    /// The tag of the next delivery, if none is under way.
    pub(super) fn next_tag(&self) -> u64 {
        self.lock().next_tag()
    }

    pub(super) fn in_hand(&self) -> usize {
        self.lock().in_hand()
    }

    /// Since when the oldest unsettled delivery is in hand.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.lock().oldest()
    }

    /// The channel is gone: receipts are stale from here on.
    pub(super) fn close(&self) {
        self.lock().close();
    }

    /// The verdict on a delivery is known.
    pub(super) fn decided(&self) {
        self.decided.fetch_add(1, Ordering::SeqCst);
        if self.watched.load(Ordering::SeqCst) {
            self.changed.notify_one();
        }
    }

    /// A receipt was dropped.
    pub(super) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn settle(&self, tag: u64, verdict: Verdict, now: Instant) {
        let mut book = self.lock();
        let notify = book.settle(tag, verdict, now, |frame| self.send(frame));
        drop(book);
        if notify {
            self.changed.notify_one();
        }
    }

    /// lapin queues the frame when its future is first polled; when it is written is of no interest, and a
    /// channel that is gone has nothing to settle.
    fn send(&self, frame: Frame) {
        let Some(channel) = &self.channel else { return };
        let _ = match frame {
            Frame::Ack { tag, multiple } => channel
                .basic_ack(tag, BasicAckOptions { multiple })
                .now_or_never(),
            Frame::Requeue(tag) => channel
                .basic_nack(
                    tag,
                    BasicNackOptions {
                        multiple: false,
                        requeue: true,
                    },
                )
                .now_or_never(),
            Frame::Reject(tag) => channel
                .basic_reject(tag, BasicRejectOptions { requeue: true })
                .now_or_never(),
        };
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
