//! Which deliveries of a channel are settled, and which frames say so to the broker.
//!
//! Invariants:
//! - `entries[i]` is tag `base + i`; tags below `base` are settled at the broker. With several consumers on
//!   the channel tags are not seen in order: one that is not seen yet blocks `multiple` like one in hand.
//! - `multiple` is sent only up to a tag below which everything is settled, and that tag itself is one the
//!   broker still waits for (any other is a 406).
//! - An acknowledgement that waits behind an unsettled tag for [`GAP`] is sent singly, but for a kept one.
//! - A tag that is kept is not settled at the broker, and so nothing behind it with `multiple`.
//! - Once closed, nothing is sent: the broker gives the rest to someone else.

use super::{GAP, trip::Trip};
use crate::broker::budget::Settled;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// This part of the credit is sent without waiting, so that it is never missed; and so many at most.
const SHARE: usize = 8;
const ENOUGH: usize = 256;

/// How a delivery ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Verdict {
    Ack,
    Requeue,
    Reject,
}

/// What the ledger sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
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
    Acked,
    Gone,
}

#[derive(Debug, Default)]
/// The deliveries of one channel, by their tags.
pub(super) struct Book {
    base: u64,
    entries: VecDeque<Entry>,
    in_hand: usize,
    unsent: usize,
    /// What was acknowledged, in that order; some of it is at the broker.
    acked: VecDeque<(u64, Instant)>,
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
    trip: Trip,
}

impl Book {
    pub(super) fn new() -> Book {
        Book {
            base: 1,
            enough: 1,
            ..Book::default()
        }
    }

    pub(super) fn enter(&mut self, tag: u64, bytes: usize, now: Instant) {
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
            self.trip.came(now);
        }
    }

    /// One that was held back is in hand only from now on.
    pub(super) fn handed(&mut self, tag: u64, now: Instant) {
        if let Some(Entry::InHand(since, _)) = self.entry(tag) {
            *since = now;
        }
    }

    /// Whether the owner of the channel should look.
    pub(super) fn settle(
        &mut self,
        tag: u64,
        verdict: Verdict,
        now: Instant,
        send: impl Fn(Frame),
    ) -> bool {
        let place = tag.checked_sub(self.base).map(usize::try_from);
        let Some(Ok(place)) = place else { return false };
        let entry = self.entries.get_mut(place);
        let Some(entry @ &mut Entry::InHand(_, bytes)) = entry else {
            return false;
        };
        self.in_hand -= 1;
        self.trip.settled(now, self.in_hand);
        self.settled.count += 1;
        self.settled.bytes += bytes;
        // no time to look at the acknowledgements is set
        let unset = self.first_unsent.is_none();
        match verdict {
            Verdict::Ack => {
                *entry = Entry::Acked;
                self.unsent += 1;
                self.acked.push_back((tag, now));
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

    pub(super) fn release(&mut self, now: Instant, send: impl Fn(Frame)) {
        let kept = std::mem::take(&mut self.keep);
        self.acked.push_front((kept, now));
        self.first_unsent.get_or_insert(now);
        if let Some(frame) = self.kept.take() {
            send(frame);
        }
        self.flush(now + GAP, send);
    }

    pub(super) fn flush(&mut self, now: Instant, send: impl Fn(Frame)) {
        self.fresh = 0;
        if self.hold || self.unsent == 0 {
            return;
        }
        let (mut last, mut count) = (None, 0);
        while let Some(entry @ (Entry::Acked | Entry::Gone)) = self.entries.front()
            && self.base != self.keep
        {
            if let Entry::Acked = entry {
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
        while let Some((tag, at)) = self.acked.front().copied() {
            let unsent = matches!(self.entry(tag), Some(Entry::Acked)) && tag != self.keep;
            if unsent && now < at + GAP {
                self.first_unsent = Some(at);
                return;
            }
            self.acked.pop_front();
            if unsent && let Some(entry) = self.entry(tag) {
                *entry = Entry::Gone;
                self.unsent -= 1;
                let multiple = false;
                send(Frame::Ack { tag, multiple });
            }
        }
    }

    fn entry(&mut self, tag: u64) -> Option<&mut Entry> {
        let place = self.place(tag)?;
        self.entries.get_mut(place)
    }

    fn place(&self, tag: u64) -> Option<usize> {
        usize::try_from(tag.checked_sub(self.base)?).ok()
    }

    /// While held, acknowledgements are kept.
    pub(super) fn hold(&mut self, hold: bool, now: Instant, send: impl Fn(Frame)) {
        self.hold = hold;
        self.trip.interrupted();
        self.flush(now, send);
    }

    /// From now on this tag is not settled at the broker until [`release`](Self::release).
    pub(super) fn keep(&mut self, tag: u64) {
        self.keep = tag;
    }

    /// The broker sends so many before it waits for acknowledgements.
    pub(super) fn credit(&mut self, open: u16) {
        self.enough = (usize::from(open) / SHARE).clamp(1, ENOUGH);
        self.trip.opened(open);
    }

    /// The time within which the broker nearly always replaces what was settled.
    pub(super) fn trip(&self, now: Instant) -> Option<Duration> {
        self.trip.within(now)
    }

    pub(super) fn take_settled(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    /// When there is something to send though nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.first_unsent.filter(|_| !self.hold).map(|at| at + GAP)
    }

    pub(super) fn is_unsettled(&self, tag: u64) -> bool {
        let entry = self.place(tag).and_then(|place| self.entries.get(place));
        entry.is_some_and(|entry| !matches!(entry, Entry::Gone))
    }

    pub(super) fn in_hand_before(&self, first: u64) -> usize {
        let former = self.entries.iter().take(self.place(first).unwrap_or(0));
        former
            .filter(|entry| matches!(entry, Entry::InHand(..)))
            .count()
    }

    pub(super) fn unacked(&self, first: u64) -> usize {
        let present = self.entries.iter().skip(self.place(first).unwrap_or(0));
        present
            .filter(|entry| !matches!(entry, Entry::Gone))
            .count()
    }

    pub(super) fn next_tag(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    pub(super) fn in_hand(&self) -> usize {
        self.in_hand
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        let in_hand = self.entries.iter().filter_map(|entry| match entry {
            Entry::InHand(since, _) => Some(*since),
            Entry::Unseen | Entry::Acked | Entry::Gone => None,
        });
        in_hand.min()
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.entries.clear();
        self.acked.clear();
        (self.in_hand, self.unsent) = (0, 0);
        self.first_unsent = None;
    }
}

#[cfg(test)]
mod tests;
