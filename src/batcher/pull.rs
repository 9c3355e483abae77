//! How a session comes by its next batch: it sleeps until one is due, waits for its turn on its device, and takes the
//! batch then.

use std::{
    sync::{
        MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    ahead::Behind,
    device::Turn,
    lane::Lane,
    policy,
    queue::State,
    request::{Ticket, refuse},
    run_time::RunTime,
    shell::Shared,
};

/// A batch that has left the queue, and the device to run it on.
pub(super) struct Leaving<'a> {
    pub(super) left: Instant,
    pub(super) batch: Vec<Ticket>,
    pub(super) turn: Turn<'a>,
}

/// What a session does next.
pub(super) enum Next<'a> {
    Run(Leaving<'a>),
    /// Looks at what it was called for.
    Called,
    /// Ends: the batcher is closing and all is done.
    End,
}

impl Shared {
    /// Waits for a batch to run on this device, and for the device; or until it is `called`, by [`call`](Self::call).
    pub(super) fn next_batch<'a>(&self, lane: &'a Lane, called: &AtomicBool) -> Next<'a> {
        let (mut state, mut turn) = (self.state(), None);
        loop {
            let now = Instant::now();
            if called.swap(false, Ordering::Relaxed) {
                // It may have been woken for a batch, which is another's now.
                self.wake_for_what_waits(&state, now);
                return Next::Called;
            }
            let due = self.due(&state, now);
            let due = due.map(|due| self.leaves(&state, lane, due, now));
            let own = lane.seats().ahead.left(now);
            let least = self.soonest(now);
            let State {
                policy,
                appetite,
                climb,
                ..
            } = &mut *state;
            let [runs, soonest] = [own, least].map(|ahead| Behind {
                runs: appetite,
                ahead,
            });
            let refused = policy.refuse_late(now, &soonest);
            if !refused.is_empty() {
                drop(state);
                refuse(refused, now);
                state = self.state();
                continue;
            }
            if due.is_none_or(|due| due > now) {
                drop(turn.take());
                if due.is_none() && state.closing {
                    return Next::End;
                }
                state = sleep(lane, state, now, due);
                continue;
            }
            let Some(turn) = turn.take() else {
                (state, turn) = self.take_turn(lane, state, now);
                continue;
            };
            let best = climb.best();
            // Others would wait for more than a full batch.
            let may = |rows| {
                policy.in_time(rows, now, &runs) && (rows <= best || lane.member.is_alone(now))
            };
            let trial = climb.trial(policy.waiting(), appetite, may);
            let policy::Leaving { batch, refused } = policy.take(now, &runs, trial);
            if !batch.is_empty() {
                state.running += 1;
            }
            self.wake_for_what_waits(&state, now);
            drop(state);
            refuse(refused, now);
            if !batch.is_empty() {
                return Next::Run(Leaving {
                    left: now,
                    batch,
                    turn,
                });
            }
            state = self.state();
        }
    }

    /// Has the device, or waits for it; what comes meanwhile joins the batch.
    fn take_turn<'a, 'l>(
        &'a self,
        lane: &'l Lane,
        state: MutexGuard<'a, State>,
        now: Instant,
    ) -> (MutexGuard<'a, State>, Option<Turn<'l>>) {
        let State {
            policy, appetite, ..
        } = &*state;
        let rows = policy.next_rows();
        let (likely, longest) = (appetite.likely(rows), appetite.longest(rows));
        let came = policy.oldest().unwrap_or(now);
        let soon = (came + lane.member.latency())
            .checked_sub(longest)
            .unwrap_or(came);
        let last_start = policy.last_start(appetite).map_or(soon, |at| at.min(soon));
        // If it is free, before others look: a device that is asked for is not idle, and they would not wait for it.
        let at_once = lane.member.turn_at_once(likely, last_start);
        if at_once.is_some() {
            return (state, at_once);
        }
        lane.seats().asking += 1;
        self.wake_for_what_waits(&state, now);
        drop(state);
        let turn = lane.member.turn(likely, last_start);
        let state = self.state();
        lane.seats().asking -= 1;
        (state, Some(turn))
    }

    /// A batch was launched on a device behind those that run there; that took so long. Another may be free sooner now.
    pub(super) fn launched(&self, lane: &Lane, rows: usize, took: Duration) {
        let (state, now) = (self.state(), Instant::now());
        let appetite = &state.appetite;
        lane.seats().ahead.launched(now, rows, took, appetite);
        self.wake_for_what_waits(&state, now);
    }

    /// The first of those that were launched there is over. What waited to go behind it may be due.
    pub(super) fn landed(&self, lane: &Lane) {
        let (state, now) = (self.state(), Instant::now());
        lane.seats().ahead.landed(now, &state.appetite);
        self.wake_for_what_waits(&state, now);
    }

    /// Has a session that waits for a batch look at something else.
    pub(super) fn call(&self, called: &AtomicBool) {
        let state = self.state();
        called.store(true, Ordering::Relaxed);
        drop(state);
        self.wake_all();
    }
}

/// Until there may be something for a session of this device to do.
fn sleep<'a>(
    lane: &Lane,
    state: MutexGuard<'a, State>,
    now: Instant,
    until: Option<Instant>,
) -> MutexGuard<'a, State> {
    let mut seats = lane.seats();
    seats.sleeping += 1;
    // Another sleeper of this device that looks sooner will pass on what is left.
    let until = until.filter(|until| seats.alarm.is_none_or(|alarm| *until < alarm));
    seats.alarm = until.or(seats.alarm);
    drop(seats);
    let state = if let Some(until) = until {
        let woken = lane.work.wait_timeout(state, until - now);
        woken.unwrap_or_else(PoisonError::into_inner).0
    } else {
        let woken = lane.work.wait(state);
        woken.unwrap_or_else(PoisonError::into_inner)
    };
    let mut seats = lane.seats();
    seats.sleeping -= 1;
    seats.alarm = None;
    drop(seats);
    state
}
