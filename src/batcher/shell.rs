//! What stands around the policy: requests are pushed by async tasks, and pulled by the threads that own the sessions,
//! with one mutex between them, and a condition variable for each device ([`pull`](super::pull) is their side).
//!
//! **Who wakes whom.** A session that finds nothing due goes to sleep, and sets `alarm`, the time at which
//! it will look again. A push wakes a sleeper only when its row is due before the alarm: that is once for
//! a batch and not once for a row. Whenever rows wait and a session sleeps, some sleeper will look by
//! `alarm`, and that is no later than the rows are due: every sleeper clears the alarm when it wakes, looks,
//! and sets it again; a session that takes a batch and leaves rows behind wakes the next. Rows for which a session
//! waits for the device already wake nobody.
//!
//! Where there are several devices, all of this is so for each ([`Lane`]): a batch may be due on one and not on another,
//! and whoever is first takes it. What is launched on one, is over there, or waits for it, may make a batch due on another,
//! and wakes a sleeper there.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
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
    device::Member,
    lane::Lane,
    policy::{PolicyConfig, Traffic},
    queue::{State, admit},
    refresh::{Hears, Sizing},
    request::Request,
    wants::Wants,
    way::{Trail, mixed},
};
use crate::fault::Failure;

pub(super) type Observer = Box<dyn Fn(BatchObservation) + Send + Sync>;

/// What tasks and sessions share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Requests on their way here.
    coming: AtomicUsize,
    pub(super) trail: Trail,
    observer: Observer,
    pub(super) hears: Hears,
    /// Where its sessions run; each has its own.
    pub(super) lanes: Box<[Arc<Lane>]>,
    alive: watch::Sender<usize>,
    abandoned: AtomicBool,
    /// Where the first request came from, if that has threads of its own: another runs only while somebody waits in it.
    runtime: OnceLock<Option<Handle>>,
}

impl Shared {
    pub(super) fn new(
        config: PolicyConfig,
        Sizing { climb, hears }: Sizing,
        devices: impl IntoIterator<Item = (Member, usize)>,
        observer: Observer,
    ) -> Self {
        let most = config.max_size;
        let climb = climb.unwrap_or_else(|| Climb::new(&ladder(most, None), most, None));
        let devices: Vec<_> = devices.into_iter().collect();
        let sessions = devices.iter().map(|(_, sessions)| sessions).sum();
        let lanes = devices.into_iter();
        let lanes = lanes.map(|(member, sessions)| Lane::new(member, sessions));
        Shared {
            state: Mutex::new(State::new(config, climb, sessions)),
            coming: AtomicUsize::new(0),
            trail: Trail::default(),
            observer,
            hears,
            lanes: lanes.collect(),
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
            self.wake_for_what_waits(&self.state(), Instant::now());
        }
    }

    /// When the next batch leaves if nothing changes and nothing is ahead of it.
    pub(super) fn due(&self, state: &State, now: Instant) -> Option<Instant> {
        let known = Traffic {
            coming: self.coming.load(Ordering::Relaxed),
            lead: state.lead,
        };
        state.due(known, self.trail.replaced(), now)
    }

    /// When it leaves on this device, of a batch that is due then. What would be late behind what runs here is for who
    /// is free sooner. A full one goes behind another at once, if there are enough rows for those devices too that are
    /// idle.
    pub(super) fn leaves(&self, state: &State, lane: &Lane, due: Instant, now: Instant) -> Instant {
        let own = lane.seats().ahead.left(now);
        if own > self.soonest(now) && state.is_late_behind(own, now) {
            return due.max(now + own);
        }
        let idle = self.lanes.iter().filter(|lane| lane.seats().is_idle());
        let idle = idle.count();
        let full = state.policy.max_size().saturating_mul(1 + idle);
        let is_full = state.policy.waiting() >= full;
        lane.seats().ahead.hold(due, is_full)
    }

    /// How long what has the least ahead of it, of all devices, is likely to be busy.
    pub(super) fn soonest(&self, now: Instant) -> Duration {
        let busy = self.lanes.iter().filter_map(|lane| lane.seats().busy(now));
        busy.min().unwrap_or_default()
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
        self.wake_for_what_waits(&state, request.came());
        keys
    }

    /// Takes out those of the rows that have not left yet.
    pub(super) fn remove(&self, keys: std::ops::Range<u64>) {
        let mut state = self.state();
        let removed: Vec<_> = keys.filter_map(|key| state.policy.remove(key)).collect();
        drop(state);
        drop(removed);
    }

    pub(super) fn wake_for_what_waits(&self, state: &State, now: Instant) {
        let mut due = None;
        for lane in &self.lanes {
            let seats = lane.seats();
            // Who waits for the device takes what is there by then.
            let taken = seats.asking * state.policy.max_size();
            if seats.sleeping == 0 || (seats.asking > 0 && state.policy.waiting() <= taken) {
                continue;
            }
            drop(seats);
            let Some(due) = *due.get_or_insert_with(|| self.due(state, now)) else {
                return;
            };
            let leaves = self.leaves(state, lane, due, now);
            let mut seats = lane.seats();
            if seats.alarm.is_none_or(|alarm| leaves < alarm) {
                seats.alarm = Some(leaves);
                lane.work.notify_one();
            }
        }
    }

    /// Has all sessions look.
    pub(super) fn wake_all(&self) {
        self.lanes.iter().for_each(|lane| lane.work.notify_all());
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

    /// From now on nothing is taken in; what waits leaves at once, and then the sessions end.
    pub(super) fn begin_close(&self) {
        let mut state = self.state();
        state.closing = true;
        state.policy.flush();
        drop(state);
        self.wake_all();
    }

    /// The same, but what waits does not leave: nobody wants it.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        let mut state = self.state();
        state.closing = true;
        let unwanted = state.policy.clear();
        drop(state);
        drop(unwanted);
        self.wake_all();
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
    pub(super) fn session_over(&self, lane: &Lane) {
        let mut state = self.state();
        state.alive -= 1;
        lane.seats().alive -= 1;
        self.wake_all();
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
