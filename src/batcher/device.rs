//! What the packages' sessions share: each has its turn on the device, in the order that [`sharing`](super::sharing)
//! says.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::sharing::{ClaimId, MemberId, Share, Sharing};

/// A device on which many packages run. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Device(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sharing: Mutex<Sharing>,
    /// Told when somebody may be next.
    changed: Condvar,
}

/// A package's membership; ends when dropped.
#[derive(Debug)]
pub struct Member {
    device: Device,
    id: MemberId,
    share: Share,
}

/// The device is a session's until this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    member: &'a Member,
    claim: ClaimId,
}

impl Device {
    /// A device of so many cores.
    #[must_use]
    pub fn new(cores: usize) -> Device {
        Device(Arc::new(Inner {
            sharing: Mutex::new(Sharing::new(cores)),
            changed: Condvar::new(),
        }))
    }

    /// The processor, of as many cores as this process may use.
    #[must_use]
    pub fn processor() -> Device {
        Device::new(std::thread::available_parallelism().map_or(1, Into::into))
    }

    /// A GPU. It computes one batch at a time; another may be on its way to it meanwhile, so that a batch takes turns
    /// for as long as it is either.
    #[must_use]
    pub fn gpu() -> Device {
        Device::new(2)
    }

    /// A package that will want the device.
    #[must_use]
    pub fn join(&self, share: Share) -> Member {
        Member {
            id: self.sharing().join(share),
            share,
            device: self.clone(),
        }
    }

    fn sharing(&self) -> MutexGuard<'_, Sharing> {
        self.0
            .sharing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// Has the device at once, for a run that is likely to take so long and should begin by `last_start`, unless others
    /// wait for it or it runs as much as it can.
    pub(super) fn turn_at_once(&self, likely: Duration, last_start: Instant) -> Option<Turn<'_>> {
        let now = Instant::now();
        let mut sharing = self.device.sharing();
        sharing.expire(now);
        if !sharing.has_room(self.id) {
            return None;
        }
        let claim = sharing.claim(self.id, likely, last_start);
        sharing.grant(now);
        Some(Turn {
            member: self,
            claim,
        })
    }

    /// Waits for the device, for a run that is likely to take so long and should begin by `last_start`.
    pub(super) fn turn(&self, likely: Duration, last_start: Instant) -> Turn<'_> {
        let (device, mut now) = (&self.device, Instant::now());
        let mut sharing = device.sharing();
        let claim = sharing.claim(self.id, likely, last_start);
        loop {
            sharing.expire(now);
            while sharing.grant(now).is_some_and(|granted| granted != claim) {
                device.0.changed.notify_all();
            }
            if sharing.is_granted(claim) {
                return Turn {
                    member: self,
                    claim,
                };
            }
            // What was granted just now counts: its owner may hang, and then nobody else looks.
            let next_expires = sharing.expire(now);
            let patience = next_expires.map_or(Duration::MAX, |at| at - now);
            let waited = device.0.changed.wait_timeout(sharing, patience);
            sharing = waited.unwrap_or_else(PoisonError::into_inner).0;
            now = Instant::now();
        }
    }

    /// Whether nobody else wants the device these days.
    pub(super) fn is_alone(&self, now: Instant) -> bool {
        self.device.sharing().is_alone(self.id, now)
    }

    /// How long a row may take without harm.
    pub(super) fn latency(&self) -> Duration {
        self.share.latency
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.device.sharing().leave(self.id);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let device = &self.member.device;
        device.sharing().over(self.claim, Instant::now());
        device.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_outlasts_a_run_that_it_granted_itself() {
        let device = Device::new(1);
        let [hangs, waits] = [(); 2].map(|()| device.join(Share::default()));
        let now = Instant::now();
        // Of a thread that has not woken up yet, and then hangs.
        let first = device.sharing().claim(hangs.id, Duration::ZERO, now);
        let turn = waits.turn(Duration::ZERO, now);
        assert!(device.sharing().is_granted(first) && device.sharing().is_granted(turn.claim));
    }
}
