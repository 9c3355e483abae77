//! What live batches show of sizes, and who hears of it.

use std::time::Instant;

use super::{climb::Climb, curve::Curve, shell::Shared};

/// What live batches showed.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// The most rows of a full batch until now.
    pub before: usize,
    /// The same from now on: the best b.
    pub best: usize,
    /// t(b) as it is known now, if the best b is the best of all sizes that can be had and anything was learnt.
    pub curve: Option<Curve>,
    /// Whether no more will be learnt.
    pub closing: bool,
}

pub(super) type Hears = Box<dyn Fn(Refreshed) + Send + Sync>;

/// How large batches are, and who hears when that changes.
pub struct Sizing {
    pub(super) climb: Option<Climb>,
    pub(super) hears: Hears,
}

impl Sizing {
    /// What `climb` says. `hears` is told when the best b changes, on a session's thread; and at the end of
    /// [`Batcher::close`](super::Batcher::close), on one that may block.
    pub fn new(climb: Climb, hears: impl Fn(Refreshed) + Send + Sync + 'static) -> Sizing {
        Sizing {
            climb: Some(climb),
            hears: Box::new(hears),
        }
    }
}

/// As large as the batcher's configuration says, until a run takes too much.
impl Default for Sizing {
    fn default() -> Sizing {
        Sizing {
            climb: None,
            hears: Box::new(|_| {}),
        }
    }
}

impl Shared {
    /// A run of so many rows met a limit, of time or of memory, that none of them meets alone. Whether batches have
    /// fewer from now on: a trial may have had more than they have.
    pub(super) fn too_many(&self, rows: usize) -> bool {
        let mut fewer = false;
        self.learn(|climb| fewer = climb.too_many(rows));
        fewer
    }

    /// Learns of sizes, and tells where another is the best then.
    pub(super) fn learn(&self, learn: impl FnOnce(&mut Climb)) {
        let mut state = self.state();
        if let Some(refreshed) = state.learn(learn) {
            // What waits may be a full batch now.
            self.wake_for_what_waits(&state, Instant::now());
            drop(state);
            (self.hears)(refreshed);
        }
    }

    /// The best b, in force.
    pub(super) fn max_size(&self) -> usize {
        self.state().policy.max_size()
    }

    /// No more will be learnt of sizes.
    pub(super) fn learnt(&self) {
        let state = self.state();
        let best = state.climb.best();
        let refreshed = Refreshed {
            before: best,
            best,
            curve: state.climb.curve(),
            closing: true,
        };
        drop(state);
        (self.hears)(refreshed);
    }
}
