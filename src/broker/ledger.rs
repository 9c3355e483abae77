//! The ledger of a channel, which settles its deliveries in few frames.
//!
//! Invariants of the ledger:
//! - `entries[i]` is tag `base + i`; tags below `base` are settled at the broker. With several consumers on
//!   the channel tags are not seen in order: one that is not seen yet blocks `multiple` like one in hand.
//! - `multiple` is sent only up to a tag below which everything is settled, and that tag itself is one the
//!   broker still waits for (any other is a 406).
//! - An acknowledgement that waits behind an unsettled tag for [`GAP`] is sent singly, but for a kept one.
//! - A tag that is kept is not settled at the broker, and so nothing behind it with `multiple`.
//! - Once closed, nothing is sent: the broker gives the rest to someone else.

use crate::broker::budget::Settled;
use crate::broker::receipt::Receipt;
use futures::FutureExt;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Acknowledgements wait this long for others to go with: a quorum queue logs an entry for each frame and consumer.
pub(super) const COALESCE: Duration = Duration::from_millis(4);
/// How long a settled tag may be stuck behind an unsettled one.
pub(super) const GAP: Duration = Duration::from_millis(50);
/// This part of the credit is sent without waiting, so that it is never missed; and so many at most.
const SHARE: usize = 8;
const ENOUGH: usize = 256;

/// How a delivery ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ack,
    Requeue,
    Reject,
}

/// What the ledger sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Ack { tag: u64, multiple: bool },
    Requeue(u64),
    Reject(u64),
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    /// Delivered, but still in some consumer's buffer.
    Unseen,
    /// Since when, and of how many bytes.
    InHand(Instant, usize),
    /// Acknowledged by its receipt, not yet at the broker.
    Acked(Instant),
    Gone,
}

#[derive(Debug, Default)]
struct Book {
    base: u64,
    entries: VecDeque<Entry>,
    in_hand: usize,
    unsent: usize,
    first_unsent: Option<Instant>,
    /// Settled since last asked.
    settled: Settled,
    hold: bool,
    /// Not settled until released; tags begin with 1.
    keep: u64,
    /// How it was given back.
    kept: Option<Frame>,
    closed: bool,
    /// Acknowledged since the last flush; so many are not waited with.
    fresh: usize,
    enough: usize,
}

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

    fn over(channel: Option<Channel>, dropped: Arc<AtomicU64>) -> Ledger {
        let book = Book {
            base: 1,
            enough: 1,
            ..Book::default()
        };
        Ledger {
            channel,
            book: Mutex::new(book),
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
        let settled = self.take_settled();
        self.lock().enter(tag, bytes, now);
        (Receipt::new(self, tag), settled)
    }

    /// Sends what is due; when there will be more to send.
    pub(super) fn flush(&self, now: Instant) -> Option<Instant> {
        let mut book = self.lock();
        book.flush(now, |frame| self.send(frame));
        book.first_unsent.filter(|_| !book.hold).map(|at| at + GAP)
    }

    /// While held, acknowledgements are kept: the broker sends no more than the open credit.
    pub(super) fn hold(&self, hold: bool) {
        let mut book = self.lock();
        book.hold = hold;
        book.flush(Instant::now(), |frame| self.send(frame));
    }

    /// From now on this tag is not settled at the broker until [`release`](Self::release): a consumer that may have
    /// one delivery gets no other.
    pub(super) fn keep(&self, tag: u64) {
        self.lock().keep = tag;
    }

    /// Whether the broker waits for this tag.
    pub(super) fn is_unsettled(&self, tag: u64) -> bool {
        let book = self.lock();
        let place = tag.checked_sub(book.base).map(usize::try_from);
        let entry = place.and_then(|place| book.entries.get(place.ok()?));
        entry.is_some_and(|entry| !matches!(entry, Entry::Gone))
    }

    /// Sends what was kept.
    pub(super) fn release(&self) {
        self.lock()
            .release(Instant::now(), |frame| self.send(frame));
    }

    /// The broker sends so many before it waits for acknowledgements.
    pub(super) fn credit(&self, open: u16) {
        self.lock().enough = (usize::from(open) / SHARE).clamp(1, ENOUGH);
    }

    /// What was settled since last asked.
    pub(super) fn take_settled(&self) -> Settled {
        let settled = std::mem::take(&mut self.lock().settled);
        Settled {
            decided: self.decided.swap(0, Ordering::SeqCst),
            ..settled
        }
    }

    /// From now on [`changed`](Self::changed) tells of each verdict, or does not.
    pub(super) fn watch(&self, watched: bool) {
        self.watched.store(watched, Ordering::SeqCst);
    }

    /// How many the broker waits for, of the tags from `first` on.
    pub(super) fn unacked(&self, first: u64) -> usize {
        let book = self.lock();
        let waits = |(tag, entry): &(u64, &Entry)| *tag >= first && !matches!(entry, Entry::Gone);
        (book.base..).zip(&book.entries).filter(waits).count()
    }

    /// The tag of the next delivery, if none is under way.
    pub(super) fn next_tag(&self) -> u64 {
        let book = self.lock();
        book.base + book.entries.len() as u64
    }

    pub(super) fn in_hand(&self) -> usize {
        self.lock().in_hand
    }

    /// When the oldest unsettled delivery arrived.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let book = self.lock();
        book.entries.iter().find_map(|entry| match entry {
            Entry::InHand(at, _) => Some(*at),
            Entry::Unseen | Entry::Acked(_) | Entry::Gone => None,
        })
    }

    /// The channel is gone: receipts are stale from here on.
    pub(super) fn close(&self) {
        let mut book = self.lock();
        book.closed = true;
        book.entries.clear();
        (book.in_hand, book.unsent) = (0, 0);
        book.first_unsent = None;
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

impl Book {
    fn enter(&mut self, tag: u64, bytes: usize, now: Instant) {
        if self.closed {
            return;
        }
        let Some(Ok(place)) = tag.checked_sub(self.base).map(usize::try_from) else {
            return;
        };
        let seen = self.entries.len().max(place + 1);
        self.entries.resize(seen, Entry::Unseen);
        if let Some(entry @ Entry::Unseen) = self.entries.get_mut(place) {
            *entry = Entry::InHand(now, bytes);
            self.in_hand += 1;
        }
    }

    /// Whether the owner of the channel should look.
    fn settle(&mut self, tag: u64, verdict: Verdict, now: Instant, send: impl Fn(Frame)) -> bool {
        let place = tag.checked_sub(self.base).map(usize::try_from);
        let Some(Ok(place)) = place else { return false };
        let entry = self.entries.get_mut(place);
        let Some(entry @ &mut Entry::InHand(_, bytes)) = entry else {
            return false;
        };
        self.in_hand -= 1;
        self.settled.count += 1;
        self.settled.bytes += bytes;
        // no time to look at the acknowledgements is set
        let unset = self.first_unsent.is_none();
        match verdict {
            Verdict::Ack => {
                *entry = Entry::Acked(now);
                self.unsent += 1;
                self.fresh += 1;
                self.first_unsent.get_or_insert(now);
            }
            Verdict::Requeue => {
                *entry = Entry::Gone;
                self.give_back(tag, Frame::Requeue(tag), &send);
            }
            Verdict::Reject => {
                *entry = Entry::Gone;
                self.give_back(tag, Frame::Reject(tag), &send);
            }
        }
        // Not by what is unsent: what waits behind a gap would send each one that fills it by itself.
        if self.in_hand == 0 || self.fresh >= self.enough {
            self.flush(now, send);
        }
        self.in_hand == 0 || place == 0 || verdict != Verdict::Ack || unset
    }

    fn give_back(&mut self, tag: u64, frame: Frame, send: impl Fn(Frame)) {
        if tag == self.keep {
            self.kept = Some(frame);
        } else {
            send(frame);
        }
    }

    fn release(&mut self, now: Instant, send: impl Fn(Frame)) {
        self.keep = 0;
        self.first_unsent.get_or_insert(now);
        if let Some(frame) = self.kept.take() {
            send(frame);
        }
        self.flush(now + GAP, send);
    }

    fn flush(&mut self, now: Instant, send: impl Fn(Frame)) {
        self.fresh = 0;
        if self.hold || self.unsent == 0 {
            return;
        }
        let (mut last, mut count) = (None, 0);
        while let Some(entry @ (Entry::Acked(_) | Entry::Gone)) = self.entries.front()
            && self.base != self.keep
        {
            if let Entry::Acked(_) = entry {
                (last, count) = (Some(self.base), count + 1);
            }
            self.entries.pop_front();
            self.base += 1;
        }
        if let Some(tag) = last {
            self.unsent -= count;
            let multiple = count > 1;
            send(Frame::Ack { tag, multiple });
        }
        if count > 0 || self.first_unsent.is_some_and(|at| at + GAP <= now) {
            self.jump_gaps(now, send);
        }
    }

    /// Sends singly what has waited behind a gap for too long.
    fn jump_gaps(&mut self, now: Instant, send: impl Fn(Frame)) {
        self.first_unsent = None;
        if self.unsent == 0 {
            return;
        }
        for (tag, entry) in (self.base..).zip(&mut self.entries) {
            let Entry::Acked(at) = *entry else { continue };
            if tag == self.keep {
                continue;
            }
            if at + GAP <= now {
                *entry = Entry::Gone;
                self.unsent -= 1;
                let multiple = false;
                send(Frame::Ack { tag, multiple });
            } else {
                self.first_unsent = Some(self.first_unsent.map_or(at, |first| first.min(at)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
