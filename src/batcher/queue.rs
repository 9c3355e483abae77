//! What the batcher's mutex guards: the rows that wait, and what is known of the sessions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ahead::Ahead,
    appetite::Appetite,
    policy::{Entry, Policy, PolicyConfig, Traffic},
    request::{Request, Ticket, hopeless, late, no_session, overloaded},
};
use crate::fault::Failure;

/// What waits, and what is known of those who run it.
pub(super) struct State {
    pub(super) policy: Policy<Ticket>,
    pub(super) appetite: Appetite,
    pub(super) ahead: Ahead,
    /// How long a request is on its way here, on average.
    pub(super) lead: Duration,
    pub(super) sleeping: usize,
    pub(super) alarm: Option<Instant>,
    /// Sessions that wait for the device.
    pub(super) asking: usize,
    pub(super) running: usize,
    /// Sessions that still pull.
    pub(super) alive: usize,
    pub(super) closing: bool,
}

impl State {
    /// Nothing waits, and so many sessions pull.
    pub(super) fn new(config: PolicyConfig, appetite: Appetite, sessions: usize) -> State {
        State {
            policy: Policy::new(config),
            appetite,
            ahead: Ahead::default(),
            lead: Duration::ZERO,
            sleeping: 0,
            alarm: None,
            asking: 0,
            running: 0,
            alive: sessions,
            closing: false,
        }
    }

    /// When the next batch leaves if nothing changes.
    pub(super) fn due(&self, traffic: Traffic) -> Option<Instant> {
        let due = self.policy.due(&self.appetite, traffic)?;
        let is_full = self.policy.waiting() >= self.policy.max_size();
        Some(self.ahead.hold(due, is_full))
    }
}

/// Takes in all rows of a request, or none, as of when it came.
pub(super) fn admit(
    state: &mut State,
    request: &Arc<Request>,
    rows: usize,
    priority: u8,
) -> Result<std::ops::Range<u64>, Failure> {
    let (now, deadline) = (request.came(), request.deadline());
    if deadline <= now {
        return Err(late().into());
    }
    if state.closing || state.alive == 0 {
        return Err(no_session().into());
    }
    if state.policy.room() < rows {
        return Err(overloaded().into());
    }
    let (appetite, sessions) = (&state.appetite, state.alive);
    let policy = &state.policy;
    if policy.is_hopeless(now, (priority, deadline), appetite, sessions) {
        return Err(hopeless().into());
    }
    let mut keys = 0..0;
    for ticket in request.tickets() {
        let entry = Entry {
            priority,
            deadline,
            ticket,
        };
        if let Ok(key) = state.policy.push(now, entry) {
            keys = (if keys.is_empty() { key } else { keys.start })..key + 1;
        }
    }
    Ok(keys)
}
