//! The threads around the policy: requests are pushed by async tasks, and pulled by the threads that own
//! the sessions, with one mutex and one condition variable between them. A session whose batch is due waits for its
//! turn on the device, and takes the batch then.
//!
//! **Who wakes whom.** A session that finds nothing due goes to sleep, and sets `alarm`, the time at which
//! it will look again. A push wakes a sleeper only when its row is due before the alarm: that is once for
//! a batch and not once for a row. Whenever rows wait and a session sleeps, some sleeper will look by
//! `alarm`, and that is no later than the rows are due: every sleeper clears the alarm when it wakes, looks,
//! and sets it again; a session that takes a batch and leaves rows behind wakes the next. Rows for which a session
//! waits for the device already wake nobody.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::watch,
};

use super::{
    BatchObservation, BatcherStats,
    climb::Climb,
    curve::ladder,
    device::{Member, Turn},
    policy::{self, PolicyConfig, Traffic},
    queue::{State, admit},
    refresh::{Hears, Sizing},
    request::{Request, Ticket, refuse},
    run_time::RunTime,
    wants::Wants,
    way::{Trail, mixed},
};
use crate::fault::Failure;

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

pub(super) type Observer = Box<dyn Fn(BatchObservation) + Send + Sync>;

/// What tasks and sessions share.
pub(super) struct Shared {
    state: Mutex<State>,
    work: Condvar,
    /// Requests on their way here.
    coming: AtomicUsize,
    pub(super) trail: Trail,
    observer: Observer,
    pub(super) hears: Hears,
    pub(super) member: Member,
    alive: watch::Sender<usize>,
    abandoned: AtomicBool,
    /// Where the first request came from, if that has threads of its own: another runs only while somebody waits in it.
    runtime: OnceLock<Option<Handle>>,
}

impl Shared {
    pub(super) fn new(
        config: PolicyConfig,
        Sizing { climb, hears }: Sizing,
        sessions: usize,
        member: Member,
        observer: Observer,
    ) -> Self {
        let most = config.max_size;
        let climb = climb.unwrap_or_else(|| Climb::new(&ladder(most, None), most, None));
        Shared {
            state: Mutex::new(State::new(config, climb, sessions)),
            work: Condvar::new(),
            coming: AtomicUsize::new(0),
            trail: Trail::default(),
            observer,
            hears,
            member,
            alive: watch::Sender::new(sessions),
            abandoned: AtomicBool::new(false),
            runtime: OnceLock::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request came from `here`.
    pub(super) fn came_from(&self, here: impl FnOnce() -> Handle) {
        let has_threads = |of: &Handle| of.runtime_flavor() == RuntimeFlavor::MultiThread;
        self.runtime
            .get_or_init(|| Some(here()).filter(has_threads));
    }

    /// Where what is to be done for those who wait is done best, if that is not here.
    pub(super) fn runtime(&self) -> Option<&Handle> {
        self.runtime.get()?.as_ref()
    }

    /// A request is on its way here.
    pub(super) fn expect(&self) {
        self.coming.fetch_add(1, Ordering::Relaxed);
    }

    /// It comes now.
    pub(super) fn arrives(&self) {
        self.coming.fetch_sub(1, Ordering::Relaxed);
    }

    /// It will not come: if it was the last, nobody waits for it any more.
    pub(super) fn expect_no_more(&self) {
        if self.coming.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.wake_for_what_waits(&mut self.state(), Instant::now());
        }
    }

    pub(super) fn due(&self, state: &State, now: Instant) -> Option<Instant> {
        let known = Traffic {
            coming: self.coming.load(Ordering::Relaxed),
            lead: state.lead,
        };
        state.due(known, self.trail.replaced(), now)
    }

    /// Takes in all rows of a request, or none. The keys of its tickets are the range's. `lead` is how long it was
    /// on its way, if that was known.
    pub(super) fn push(
        &self,
        request: &Arc<Request>,
        rows: usize,
        priority: u8,
        lead: Option<Duration>,
    ) -> Result<std::ops::Range<u64>, Failure> {
        let mut state = self.state();
        if let Some(lead) = lead {
            state.lead = mixed(state.lead, lead);
        }
        state.sizes.saw(rows, request.came());
        let keys = admit(&mut state, request, rows, priority);
        // Taken in or not, it is on its way no more.
        self.wake_for_what_waits(&mut state, request.came());
        keys
    }

    /// Takes out those of the rows that have not left yet.
    pub(super) fn remove(&self, keys: std::ops::Range<u64>) {
        let mut state = self.state();
        let removed: Vec<_> = keys.filter_map(|key| state.policy.remove(key)).collect();
        drop(state);
        drop(removed);
    }

    pub(super) fn wake_for_what_waits(&self, state: &mut State, now: Instant) {
        // Who waits for the device takes what is there by then.
        let taken = state.asking * state.policy.max_size();
        if state.sleeping == 0 || (state.asking > 0 && state.policy.waiting() <= taken) {
            return;
        }
        let due = self.due(state, now);
        if let Some(due) = due
            && state.alarm.is_none_or(|alarm| due < alarm)
        {
            state.alarm = Some(due);
            self.work.notify_one();
        }
    }

    /// Waits for a batch to run, and for the device; or until it is `called`, by [`call`](Self::call).
    pub(super) fn next_batch(&self, called: &AtomicBool) -> Next<'_> {
        let (mut state, mut turn) = (self.state(), None);
        loop {
            if called.swap(false, Ordering::Relaxed) {
                return Next::Called;
            }
            let now = Instant::now();
            let due = self.due(&state, now);
            let State {
                policy,
                appetite,
                climb,
                ahead,
                ..
            } = &mut *state;
            let runs = ahead.behind(now, appetite);
            let late = policy.refuse_late(now, &runs);
            if !late.is_empty() {
                drop(state);
                refuse(late, now);
                state = self.state();
                continue;
            }
            if due.is_none_or(|due| due > now) {
                drop(turn.take());
                if due.is_none() && state.closing {
                    return Next::End;
                }
                state = self.sleep(state, now, due);
                continue;
            }
            let Some(turn) = turn.take() else {
                (state, turn) = self.take_turn(state, now);
                continue;
            };
            let best = climb.best();
            // Others would wait for more than a full batch.
            let may = |rows| {
                policy.in_time(rows, now, &runs) && (rows <= best || self.member.is_alone(now))
            };
            let trial = climb.trial(policy.waiting(), appetite, may);
            let policy::Leaving { batch, refused } = policy.take(now, &runs, trial);
            if !batch.is_empty() {
                state.running += 1;
            }
            self.wake_for_what_waits(&mut state, now);
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

    /// Waits for the device. What comes meanwhile joins the batch.
    fn take_turn<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        now: Instant,
    ) -> (MutexGuard<'a, State>, Option<Turn<'a>>) {
        let State {
            policy, appetite, ..
        } = &*state;
        let rows = policy.next_rows();
        let (likely, longest) = (appetite.likely(rows), appetite.longest(rows));
        let came = policy.oldest().unwrap_or(now);
        let soon = (came + self.member.latency())
            .checked_sub(longest)
            .unwrap_or(came);
        let last_start = policy.last_start(appetite).map_or(soon, |at| at.min(soon));
        state.asking += 1;
        drop(state);
        let turn = self.member.turn(likely, last_start);
        let mut state = self.state();
        state.asking -= 1;
        (state, Some(turn))
    }

    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        now: Instant,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        state.sleeping += 1;
        // Another sleeper that looks sooner will pass on what is left.
        let until = until.filter(|until| state.alarm.is_none_or(|alarm| *until < alarm));
        let mut state = if let Some(until) = until {
            state.alarm = Some(until);
            let woken = self.work.wait_timeout(state, until - now);
            woken.unwrap_or_else(PoisonError::into_inner).0
        } else {
            let woken = self.work.wait(state);
            woken.unwrap_or_else(PoisonError::into_inner)
        };
        state.sleeping -= 1;
        state.alarm = None;
        state
    }

    pub(super) fn wants(&self, rows_each: usize, trip: Option<Duration>) -> Wants {
        let coming = self.coming.load(Ordering::Relaxed);
        let away = trip.map(|trip| trip + self.trail.average());
        self.state().wants(rows_each, coming, away, Instant::now())
    }

    /// Much of the credit is used.
    pub(super) fn filled(&self) {
        self.state().filled = Some(Instant::now());
    }

    /// Takes note of a run. How long one took that failed, or was stopped, says nothing of others.
    pub(super) fn ran(&self, observation: BatchObservation, went_well: bool) {
        if went_well {
            let trail = self.trail.average();
            self.state().appetite.observe(&observation, trail);
            self.learn(|climb| climb.ran(&observation));
        } else {
            self.learn(|climb| climb.failed(&observation));
        }
        (self.observer)(observation);
    }

    /// A batch was launched behind those that run; that took so long.
    pub(super) fn launched(&self, rows: usize, took: Duration) {
        let State {
            ahead, appetite, ..
        } = &mut *self.state();
        ahead.launched(Instant::now(), rows, took, appetite);
    }

    /// The first of those that were launched is over. What waited to go behind it may be due.
    pub(super) fn landed(&self) {
        let (mut state, now) = (self.state(), Instant::now());
        let State {
            ahead, appetite, ..
        } = &mut *state;
        ahead.landed(now, appetite);
        self.wake_for_what_waits(&mut state, now);
    }

    /// Has a session that waits for a batch look at something else.
    pub(super) fn call(&self, called: &AtomicBool) {
        let state = self.state();
        called.store(true, Ordering::Relaxed);
        drop(state);
        self.work.notify_all();
    }

    /// From now on nothing is taken in; what waits leaves at once, and then the sessions end.
    pub(super) fn begin_close(&self) {
        let mut state = self.state();
        state.closing = true;
        state.policy.flush();
        drop(state);
        self.work.notify_all();
    }

    /// The same, but what waits does not leave: nobody wants it.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        let mut state = self.state();
        state.closing = true;
        let unwanted = state.policy.clear();
        drop(state);
        drop(unwanted);
        self.work.notify_all();
    }

    /// Whether nobody wants what the sessions do.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// A batch that a session took is over.
    pub(super) fn batch_over(&self) {
        self.state().running -= 1;
    }

    /// A session pulls no more. The last one answers what still waits; of the others one may have slept by its alarm.
    pub(super) fn session_over(&self) {
        let mut state = self.state();
        state.alive -= 1;
        self.work.notify_all();
        let orphans = if state.alive == 0 {
            state.policy.clear()
        } else {
            Vec::new()
        };
        drop(state);
        drop(orphans);
        // Two that end at once may come here in either order.
        self.alive.send_modify(|alive| *alive -= 1);
    }

    /// Returns when no session pulls any more.
    pub(super) async fn ended(&self) {
        let mut alive = self.alive.subscribe();
        // Fails only when the sender is gone, which is here.
        let _ = alive.wait_for(|alive| *alive == 0).await;
    }

    pub(super) fn stats(&self) -> BatcherStats {
        let state = self.state();
        let oldest = state.policy.oldest();
        BatcherStats {
            waiting_rows: state.policy.waiting(),
            running_batches: state.running,
            sessions_alive: state.alive,
            oldest_wait: oldest.map_or(Duration::ZERO, |came| came.elapsed()),
            hung: None,
        }
    }
}
