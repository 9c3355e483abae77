//! Suspects of all queues of a worker run alone.
//!
//! A crash counts a delivery of everything that is in hand, whatever its queue: what runs beside a suspect shares its
//! fate. So while any queue has suspects no queue consumes, and a suspect is handed out only while nothing of any
//! queue is in hand without a verdict; whoever can least afford a crash comes first, whatever its queue. A queue in
//! which nothing changes for [`PATIENCE`] meanwhile waits for something else (a run that takes long, a store): the
//! others go on as if it were not there. What is still being run of a connection that was lost is in nobody's hand any
//! more, and may run beside a suspect.

use crate::broker::consumer::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long the others wait for a queue in which nothing changes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose turn it is among suspects: the least is next.
pub(super) type Turn = (u64, u64);

/// How the consumers of one queue stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stand {
    /// Nothing is consumed, nor will be while others have suspects.
    pub(super) closed: bool,
    /// Whether a suspect is held back or in hand.
    pub(super) suspects: bool,
    /// How many are in hand without a verdict, where one of the above is so.
    pub(super) in_hand: usize,
    /// Whose turn it is of the suspects that are held back.
    pub(super) turn: Option<Turn>,
}

/// How the other queues stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Others {
    /// They have suspects.
    pub(super) suspects: bool,
    /// A suspect of this queue may be handed out as far as they are concerned.
    pub(super) clear: bool,
    /// When that has to be looked at again, though nothing changes.
    pub(super) again: Option<Instant>,
}

impl Default for Others {
    /// There are none.
    fn default() -> Self {
        Others {
            suspects: false,
            clear: true,
            again: None,
        }
    }
}

/// How a queue stands, and since when.
type Bed = (Stand, Instant);

#[derive(Debug, Default)]
struct Beds {
    next: u64,
    all: BTreeMap<u64, Bed>,
}

/// Where the queues of a worker tell each other how they stand.
#[derive(Debug, Default)]
pub(super) struct Ward {
    beds: Mutex<Beds>,
    changed: watch::Sender<()>,
}

/// One queue's place; given up when dropped.
#[derive(Debug)]
pub(super) struct Place {
    ward: Arc<Ward>,
    id: u64,
    changed: watch::Receiver<()>,
    /// What was told, and heard, last.
    told: Stand,
    heard: Others,
}

impl Ward {
    pub(super) fn enter(self: &Arc<Self>, now: Instant) -> Place {
        let mut beds = lock(&self.beds);
        beds.next += 1;
        let id = beds.next;
        beds.all.insert(id, (Stand::default(), now));
        let mut changed = self.changed.subscribe();
        changed.mark_changed();
        Place {
            ward: Arc::clone(self),
            id,
            changed,
            told: Stand::default(),
            heard: Others::default(),
        }
    }
}

impl Place {
    /// Tells how this queue stands now; how the others do.
    pub(super) fn tell(&mut self, stand: Stand, now: Instant) -> Others {
        let same = stand == self.told && !self.changed.has_changed().unwrap_or_default();
        if same && self.heard.again.is_none_or(|again| now < again) {
            return self.heard;
        }
        self.changed.mark_unchanged();
        let mut beds = lock(&self.ward.beds);
        if stand != self.told {
            self.told = stand;
            beds.all.insert(self.id, (stand, now));
            self.ward.changed.send_replace(());
            self.changed.mark_unchanged();
        }
        self.heard = beds.others(self.id, stand.turn, now);
        self.heard
    }

    /// When to tell, and hear, again though nothing changes.
    pub(super) fn again(&self) -> Option<Instant> {
        self.heard.again
    }

    /// When another queue stands differently.
    pub(super) async fn changed(&mut self) {
        // The sender is the ward, which this holds.
        let _ = self.changed.changed().await;
        self.changed.mark_changed();
    }
}

impl Beds {
    fn others(&self, me: u64, turn: Option<Turn>, now: Instant) -> Others {
        let mut others = Others::default();
        for (id, (other, since)) in self.all.iter().filter(|(id, _)| **id != me) {
            let until = (other.in_hand > 0).then(|| *since + PATIENCE);
            if until.is_some_and(|until| until <= now) {
                continue;
            }
            others.again = others.again.into_iter().chain(until).min();
            others.suspects |= other.suspects;
            let sooner = other
                .turn
                .zip(turn)
                .is_some_and(|(other, mine)| (other, *id) < (mine, me));
            others.clear &= other.closed && other.in_hand == 0 && !sooner;
        }
        others
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.ward.beds).all.remove(&self.id);
        self.ward.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests;
