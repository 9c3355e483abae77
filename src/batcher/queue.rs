//! What the batcher's mutex guards: the rows that wait, and what is known of the sessions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ahead::Behind,
    appetite::Appetite,
    climb::Climb,
    policy::{Entry, Policy, PolicyConfig, Traffic},
    refresh::Refreshed,
    request::{Request, Ticket, hopeless, late, no_session, overloaded},
    wants::{Sizes, Wants},
    way::{AT_LEAST, ON_THE_WAY, mixed, together},
};
use crate::fault::Failure;

/// What is in hand is looked at twice a second: that much of the credit was used holds for so long.
const HOLDS: Duration = Duration::from_secs(1);

/// What waits, and what is known of those who run it.
pub(super) struct State {
    pub(super) policy: Policy<Ticket>,
    pub(super) appetite: Appetite,
    pub(super) climb: Climb,
    /// How long a request is on its way here, on average.
    pub(super) lead: Duration,
    /// How long those that were taken in may wait, on average, each from [`AT_LEAST`] to [`ON_THE_WAY`].
    patience: Duration,
    /// When much of the credit was used, last.
    pub(super) filled: Option<Instant>,
    /// What requests have been like.
    pub(super) sizes: Sizes,
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
            lead: Duration::ZERO,
            patience: ON_THE_WAY,
            filled: None,
            sizes: Sizes::default(),
            running: 0,
            alive: sessions,
            closing: false,
        }
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
    /// one is taken to have so many rows. `away` is how long it takes from the end of a run until others are here in
    /// the place of those that ran, if that is known.
    pub(super) fn wants(
        &self,
        rows_each: usize,
        coming: usize,
        away: Option<Duration>,
        now: Instant,
    ) -> Wants {
        // What runs may be a trial, and so may what gathers meanwhile.
        let (full, reach) = (self.policy.max_size(), self.climb.reach(&self.appetite));
        let way = away.map_or(ON_THE_WAY, |away| away + self.lead);
        // What would be late here may be in time elsewhere.
        let busy = self.appetite.rows_in(way.min(self.patience), full);
        let busy = busy.saturating_add(full + reach).saturating_mul(self.alive);
        let sizes = self.sizes.or_like(rows_each);
        let most = sizes.surely_within(self.policy.queue_limit());
        let under_way = self.policy.waiting() + self.running * reach;
        Wants {
            requests: sizes.requests(busy).clamp(1, most),
            under_way: coming + sizes.requests(under_way),
            most,
            lately: self.sizes.is_recent(now),
        }
    }

    /// Whether rows would be late, alone or in a full batch, behind what runs on for so long.
    pub(super) fn is_late_behind(&self, ahead: Duration, now: Instant) -> bool {
        let (policy, runs) = (&self.policy, &self.appetite);
        let runs = Behind { runs, ahead };
        let most = policy.max_size();
        policy.has_late(now, &runs) || policy.waiting() > most && !policy.in_time(most, now, &runs)
    }

    /// When the next batch leaves if nothing changes and nothing is ahead of it on its device: of `answers` on their way
    /// back each may make room for another request.
    pub(super) fn due(&self, traffic: Traffic, answers: Traffic, now: Instant) -> Option<Instant> {
        let mut due = self.policy.due(&self.appetite, traffic)?;
        if let Some(until) = self
            .replaced_until(answers.lead)
            .filter(|until| *until > now)
        {
            let both = together(traffic, answers);
            due = due.max(self.policy.due(&self.appetite, both)?.min(until));
        }
        Some(due)
    }

    /// How long what is answered counts as replaced by another request: where much of the credit is used, and requests
    /// come. Where none has come for as long as an answer is on its way, the backlog is at its end, or the answers are
    /// stuck.
    fn replaced_until(&self, lead: Duration) -> Option<Instant> {
        let last = self.sizes.last()?;
        let used = self.filled?;
        Some((last + lead).min(used + HOLDS))
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
    let patience = (deadline - now).max(AT_LEAST);
    state.patience = mixed(state.patience, patience);
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{batcher::curve::ladder, predict::testing::row};

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

    fn wants(state: &State, rows_each: usize, coming: usize) -> Wants {
        state.wants(rows_each, coming, None, Instant::now())
    }

    #[test]
    fn it_wants_requests_and_not_rows_and_no_more_than_may_wait() {
        let mut roomy = state(4_096);
        assert_eq!(wants(&roomy, 1, 0).requests, 3 * 64);
        assert_eq!(wants(&roomy, 64, 0).requests, 3, "as the examples have it");
        for _ in 0..100 {
            roomy.sizes.saw(32, Instant::now());
        }
        assert_eq!(wants(&roomy, 1, 5).requests, 6);
        assert_eq!(wants(&roomy, 1, 5).under_way, 5);
        roomy.running = 1;
        assert_eq!(wants(&roomy, 1, 5).under_way, 7);

        assert_eq!(wants(&roomy, 1, 5).most, 4_096 / 32);

        assert_eq!(wants(&state(100), 1, 0).requests, 100);
        assert_eq!(wants(&state(100), 64, 0).most, 1);
        assert_eq!(wants(&state(1), 64, 0).requests, 1, "or nothing would come");
    }

    #[test]
    fn it_wants_no_more_than_may_run_while_those_that_come_can_wait() {
        let now = Instant::now();
        let come = |state: &mut State, left| {
            for _ in 0..100 {
                let rows = vec![row(&[1.0])];
                let (request, _answered) = Request::new(rows, now, now + left);
                admit(state, &request, 1, 0).unwrap();
            }
            wants(state, 1, 0).requests
        };
        let mut fast = state(4_096);
        fast.appetite = Appetite::default();
        fast.appetite.record(64, ON_THE_WAY / 10);
        assert_eq!(come(&mut fast, ON_THE_WAY), (10 + 2) * 64);
        let few = come(&mut fast, ON_THE_WAY / 2);
        assert!((7 * 64..8 * 64).contains(&few), "{few}");
        assert!(come(&mut fast, 10 * ON_THE_WAY) > 11 * 64, "again");
        let mut pressed = state(100_000);
        pressed.appetite = Appetite::default();
        pressed.appetite.record(64, ON_THE_WAY / 300);
        let few = come(&mut pressed, ON_THE_WAY / 30);
        assert!(
            (102 * 64..103 * 64).contains(&few),
            "the way is not shorter: {few}"
        );
    }

    #[test]
    fn it_wants_what_runs_while_others_come_in_the_place_of_those_that_ran() {
        let mut state = state(4_096);
        state.appetite = Appetite::default();
        state.appetite.record(64, ON_THE_WAY / 10);
        state.lead = ON_THE_WAY / 10;
        let wants = |away| state.wants(1, 0, away, Instant::now()).requests;
        assert_eq!(wants(None), (10 + 2) * 64, "the way is not known");
        assert_eq!(wants(Some(Duration::ZERO)), (1 + 2) * 64);
        assert_eq!(wants(Some(ON_THE_WAY / 5)), (3 + 2) * 64);
        assert_eq!(wants(Some(2 * ON_THE_WAY)), (10 + 2) * 64, "no end of it");
    }

    #[test]
    fn where_a_larger_batch_may_be_tried_it_wants_as_many_as_that_takes() {
        let mut climbing = state(4_096);
        let climb = Climb::new(&ladder(256, None), 64, None);
        climbing.climb = climb.refreshed(4 * ON_THE_WAY, true);
        assert_eq!(wants(&climbing, 1, 0).requests, (1 + 1 + 2) * 64);
        let climb = Climb::new(&ladder(256, None), 64, None);
        climbing.climb = climb.refreshed(ON_THE_WAY, true);
        assert_eq!(wants(&climbing, 1, 0).requests, 3 * 64, "it may not");
    }

    #[test]
    fn what_is_answered_is_replaced_while_requests_come_and_much_of_the_credit_is_used() {
        const LEAD: Duration = Duration::from_millis(4);
        let (mut state, now) = (state(100), Instant::now());
        assert_eq!(state.replaced_until(LEAD), None);
        state.filled = Some(now);
        assert_eq!(state.replaced_until(LEAD), None, "none has come");
        state.sizes.saw(1, now);
        assert_eq!(state.replaced_until(LEAD), Some(now + LEAD));
        state.sizes.saw(1, now + HOLDS);
        let until = state.replaced_until(LEAD);
        assert_eq!(until, Some(now + HOLDS), "nobody has looked since");
    }

    #[test]
    fn before_anything_ran_it_wants_what_may_wait() {
        let mut unknown = state(4_096);
        unknown.appetite = Appetite::default();
        assert_eq!(wants(&unknown, 1, 0).requests, 4_096);
        assert_eq!(wants(&unknown, 64, 0).requests, 64);
    }
}
