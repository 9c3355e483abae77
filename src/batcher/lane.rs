//! A device that sessions of a package run on, where there may be several: each is a lane.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{ahead::Ahead, device::Member};

/// The package's part in a device, and its sessions there.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) member: Member,
    /// Where its sessions sleep, with the state's lock.
    pub(super) work: Condvar,
    seats: Mutex<Seats>,
}

/// What the sessions of a lane do.
#[derive(Debug, Default)]
pub(super) struct Seats {
    /// What was launched there.
    pub(super) ahead: Ahead,
    /// That sleep.
    pub(super) sleeping: usize,
    /// When the first of these looks again.
    pub(super) alarm: Option<Instant>,
    /// That wait for the device.
    pub(super) asking: usize,
    /// That still pull.
    pub(super) alive: usize,
}

impl Lane {
    /// So many sessions pull, and nothing runs.
    pub(super) fn new(member: Member, sessions: usize) -> Arc<Lane> {
        Arc::new(Lane {
            member,
            work: Condvar::new(),
            seats: Mutex::new(Seats {
                alive: sessions,
                ..Seats::default()
            }),
        })
    }

    /// To be looked at and changed by who has the state's lock.
    pub(super) fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    /// How long what was launched is likely to run on; `None` where nobody pulls. What others run there is not known.
    pub(super) fn busy(&self, now: Instant) -> Option<Duration> {
        (self.alive > 0).then(|| self.ahead.left(now))
    }

    /// Whether a session sleeps on a device that has nothing to do, for this package or for others.
    pub(super) fn is_idle(&self) -> bool {
        self.sleeping > 0 && self.asking == 0 && self.ahead.is_empty()
    }
}
