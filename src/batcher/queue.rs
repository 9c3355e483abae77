//! What the batcher's mutex guards: the rows that wait, and what is known of the sessions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ahead::Ahead,
    appetite::{Appetite, size},
    climb::Climb,
    policy::{Entry, Policy, PolicyConfig, Traffic},
    refresh::Refreshed,
    request::{Request, Ticket, hopeless, late, no_session, overloaded},
    way::ON_THE_WAY,
};
use crate::fault::Failure;

/// The weight of a request in how many rows one has is one part in this many.
const REQUESTS: f64 = 16.0;

/// What a batcher wants of its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Requests in hand that keep the sessions busy: what runs, what gathers meanwhile, and what the device does while
    /// requests and replies are on their way to and from the broker; no more than may wait.
    pub requests: usize,
    /// Requests of which the model is not done.
    pub under_way: usize,
    /// Requests that may wait, all at once, if they have as many rows as they have on average. What is in hand and waits
    /// for its reply may have made room for others that come before that reply is confirmed: with more in hand than
    /// this, some would be refused.
    pub most: usize,
}

/// What waits, and what is known of those who run it.
pub(super) struct State {
    pub(super) policy: Policy<Ticket>,
    pub(super) appetite: Appetite,
    pub(super) climb: Climb,
    pub(super) ahead: Ahead,
    /// How long a request is on its way here, on average.
    pub(super) lead: Duration,
    /// Rows of a request, on average; 0 before there was one.
    pub(super) rows_each: f64,
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
    /// Nothing waits, and so many sessions pull. `climb` says how large batches are.
    pub(super) fn new(config: PolicyConfig, climb: Climb, sessions: usize) -> State {
        let max_size = climb.best();
        State {
            policy: Policy::new(PolicyConfig { max_size, ..config }),
            appetite: Appetite::of(climb.measured()),
            climb,
            ahead: Ahead::default(),
            lead: Duration::ZERO,
            rows_each: 0.0,
            sleeping: 0,
            alarm: None,
            asking: 0,
            running: 0,
            alive: sessions,
            closing: false,
        }
    }

    /// A request of so many rows came.
    pub(super) fn saw(&mut self, rows: usize) {
        let rows = size(rows);
        self.rows_each = if self.rows_each > 0.0 {
            self.rows_each + (rows - self.rows_each) / REQUESTS
        } else {
            rows
        };
    }

    /// Something is learnt of sizes. What came of it, where another is the best now.
    pub(super) fn learn(&mut self, learn: impl FnOnce(&mut Climb)) -> Option<Refreshed> {
        let before = self.climb.best();
        learn(&mut self.climb);
        let best = self.climb.best();
        self.policy.set_max_size(best);
        (best != before).then(|| Refreshed {
            before,
            best,
            curve: self.climb.curve(),
            closing: false,
        })
    }

    /// What keeps the sessions busy, and so many that are on their way here or not done; where no request has come yet,
    /// one is taken to have so many rows.
    pub(super) fn wants(&self, rows_each: usize, coming: usize) -> Wants {
        // A part of what may wait is left: requests may have more rows than the average.
        let (most, limit) = (self.policy.max_size(), self.policy.queue_limit());
        // What runs may be a trial, and so may what gathers meanwhile.
        let reach = self.climb.reach(&self.appetite);
        let busy = self.appetite.rows_in(ON_THE_WAY, most);
        let busy = busy
            .saturating_add(most + reach)
            .saturating_mul(self.alive)
            .min(limit - limit / 4);
        let rows_each = if self.rows_each > 0.0 {
            self.rows_each
        } else {
            size(rows_each)
        };
        let requests = |rows: usize| size(rows) / rows_each.max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "no more than rows, and not below nothing"
        )]
        let (whole, begun) = (|each: f64| each as usize, |each: f64| each.ceil() as usize);
        Wants {
            requests: begun(requests(busy)).max(1),
            under_way: coming + begun(requests(self.policy.waiting() + self.running * reach)),
            most: whole(requests(limit)).max(1),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batcher::curve::ladder;

    fn state(queue_limit: usize) -> State {
        let config = PolicyConfig {
            max_size: 64,
            max_delay: Duration::ZERO,
            queue_limit,
        };
        let climb = Climb::new(&ladder(64, None), 64, None);
        let mut state = State::new(config, climb, 1);
        state.appetite.record(64, ON_THE_WAY);
        state
    }

    #[test]
    fn it_wants_requests_and_not_rows_and_no_more_than_may_wait() {
        let mut roomy = state(4_096);
        assert_eq!(roomy.wants(1, 0).requests, 3 * 64);
        assert_eq!(roomy.wants(64, 0).requests, 3, "as the examples have it");
        for _ in 0..100 {
            roomy.saw(32);
        }
        assert_eq!(roomy.wants(1, 5).requests, 6);
        assert_eq!(roomy.wants(1, 5).under_way, 5);
        roomy.running = 1;
        assert_eq!(roomy.wants(1, 5).under_way, 7);

        assert_eq!(roomy.wants(1, 5).most, 4_096 / 32);

        assert_eq!(state(100).wants(1, 0).requests, 75);
        assert_eq!(state(100).wants(64, 0).most, 1);
        assert_eq!(state(1).wants(64, 0).requests, 1, "or nothing would come");
    }

    #[test]
    fn where_a_larger_batch_may_be_tried_it_wants_as_many_as_that_takes() {
        let mut climbing = state(4_096);
        let climb = Climb::new(&ladder(256, None), 64, None);
        climbing.climb = climb.refreshed(4 * ON_THE_WAY, true);
        assert_eq!(climbing.wants(1, 0).requests, (1 + 1 + 2) * 64);
        let climb = Climb::new(&ladder(256, None), 64, None);
        climbing.climb = climb.refreshed(ON_THE_WAY, true);
        assert_eq!(climbing.wants(1, 0).requests, 3 * 64, "it may not");
    }

    #[test]
    fn before_anything_ran_it_wants_what_may_wait() {
        let mut unknown = state(4_096);
        unknown.appetite = Appetite::default();
        assert_eq!(unknown.wants(1, 0).requests, 3_072);
        assert_eq!(unknown.wants(64, 0).requests, 48);
    }
}
