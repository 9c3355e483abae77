//! How much who takes deliveries has a use for.

use std::{fmt, sync::Arc, time::Duration};

/// How many deliveries who takes them has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// More in hand would be of no use.
    pub wanted: usize,
    /// Of more in hand some would be refused.
    pub most: usize,
}

impl Demand {
    /// As many as credit may grow to. Not to the most: what deliveries ask for may change before that is known.
    pub(super) fn grows_to(self) -> usize {
        self.wanted.min(self.most - self.most / 4)
    }
}

impl Default for Demand {
    /// As many as come.
    fn default() -> Self {
        Demand {
            wanted: usize::MAX,
            most: usize::MAX,
        }
    }
}

/// How much of its credit a queue has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Deliveries in hand.
    pub in_hand: usize,
    /// Those that the broker sends at once.
    pub open: usize,
    /// The time within which the broker nearly always sends another in the place of one that was settled, as it is
    /// measured; `None` while it is not known.
    pub trip: Option<Duration>,
}

/// What is demanded of a queue where so much of its credit is used; asked at most twice a second.
#[derive(Clone)]
pub struct Wanted(Arc<dyn Fn(Usage) -> Demand + Send + Sync>);

impl Wanted {
    /// As much as `demand` says whenever it is asked.
    pub fn new(demand: impl Fn(Usage) -> Demand + Send + Sync + 'static) -> Wanted {
        Wanted(Arc::new(demand))
    }

    pub(super) fn demand(&self, usage: Usage) -> Demand {
        (self.0)(usage)
    }
}

impl Default for Wanted {
    /// As many as come.
    fn default() -> Self {
        Wanted::new(|_| Demand::default())
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let demand = self.demand(Usage::default());
        f.debug_tuple("Wanted").field(&demand).finish()
    }
}
