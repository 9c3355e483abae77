//! How the broker's side stands.

use crate::broker::connection::LinkState;
use crate::broker::consumer::{QueueHealth, lock};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// How the broker's side stands.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Health {
    /// The connection that consumes.
    pub consuming: LinkHealth,
    /// The connection that publishes.
    pub publishing: LinkHealth,
    /// Publications that wait for their confirm.
    pub waiting_publications: usize,
    /// Destinations that refuse what is published to them, or do not confirm it.
    pub sick_destinations: usize,
    /// Requests in hand, by their queue, that are to be dead letters and are not taken as those either: tried again
    /// without end.
    pub refused_letters: BTreeMap<String, usize>,
    /// What of the topology is missing or differs, as last seen.
    pub topology: Option<String>,
    /// Every queue that is consumed.
    pub queues: Vec<QueueHealth>,
}

/// How a connection stands.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct LinkHealth {
    /// Whether there is one.
    pub connected: bool,
    /// Why the broker takes no publications: it is short of memory or disk.
    pub blocked: Option<String>,
    /// Seconds since the broker takes publications; null while it does not.
    pub flowing_s: Option<f64>,
    /// Why there is none.
    pub reason: Option<String>,
    /// How often it had to be made again.
    pub reconnects: u64,
}

impl From<&LinkState> for LinkHealth {
    fn from(state: &LinkState) -> Self {
        LinkHealth {
            connected: state.link.as_ref().is_some_and(|link| link.alive()),
            blocked: state.blocked.clone(),
            flowing_s: state
                .flows_since
                .filter(|_| state.flows())
                .map(|since| since.elapsed().as_secs_f64()),
            reason: state.reason.clone(),
            reconnects: state.connects.saturating_sub(1),
        }
    }
}

/// Counts of something, by name.
#[derive(Default)]
pub(super) struct Counts(Mutex<BTreeMap<String, usize>>);

/// One more for as long as it lives.
pub(super) struct Counted<'a>(&'a Counts, &'a str);

impl Counts {
    pub(super) fn all(&self) -> BTreeMap<String, usize> {
        lock(&self.0).clone()
    }

    pub(super) fn one<'a>(&'a self, name: &'a str) -> Counted<'a> {
        *lock(&self.0).entry(name.to_owned()).or_default() += 1;
        Counted(self, name)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut counts = lock(&self.0.0);
        if let Some(count) = counts.get_mut(self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(self.1);
            }
        }
    }
}
