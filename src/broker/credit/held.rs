//! What waits to run alone, and in which order.

use crate::broker::ward::Turn;

/// A delivery that is held back.
#[derive(Debug)]
pub(super) struct Held<T> {
    /// How often it was given back or lost.
    pub(super) count: u64,
    pub(super) key: u64,
    pub(super) delivery: T,
}

impl<T> Held<T> {
    /// Whoever has the least is next.
    pub(super) fn turn(&self) -> Turn {
        let upwards = self.count.is_multiple_of(2);
        (!self.count, if upwards { self.key } else { !self.key })
    }
}
