//! How the broker's side stands.

use crate::broker::connection::LinkState;
use crate::broker::consumer::QueueHealth;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// Requests in hand that are to be dead letters, which the broker does not take either: tried again without end.
    pub refused_letters: usize,
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
            reason: state.reason.clone(),
            reconnects: state.connects.saturating_sub(1),
        }
    }
}

/// One more for as long as it lives.
pub(super) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
