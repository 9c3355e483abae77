//! Runs that take too long: stopped, and where that does not help, told of.
//!
//! One thread looks over all sessions of a batcher. A run is stopped at its limit, which ends it at its next
//! node; it then counts as failed, and is bisected like any other. A run that goes on for as long again, and for
//! [`LISTENING`] at least, does not listen: only the end of the process ends it, and [`Runs::hung`] says so.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::predict::Stopper;

/// A run that goes on for so long after it was stopped does not end by itself.
const LISTENING: Duration = Duration::from_secs(2);
/// How often the runs are looked at, as a part of the limit.
const LOOKS: u32 = 8;

/// What every session runs.
pub(super) struct Runs {
    limit: Duration,
    state: Mutex<State>,
    closing: Condvar,
}

struct State {
    sessions: Vec<Running>,
    /// Nobody wants what runs.
    abandoned: bool,
    closed: bool,
}

struct Running {
    stopper: Option<Stopper>,
    since: Option<Instant>,
    /// When what runs was stopped.
    stopped: Option<Instant>,
}

impl Runs {
    /// `limit` is how long a run may take. Sessions of tests have no stopper.
    pub(super) fn new(
        limit: Duration,
        stoppers: impl IntoIterator<Item = Option<Stopper>>,
    ) -> Self {
        let idle = |stopper| Running {
            stopper,
            since: None,
            stopped: None,
        };
        Runs {
            limit,
            state: Mutex::new(State {
                sessions: stoppers.into_iter().map(idle).collect(),
                abandoned: false,
                closed: false,
            }),
            closing: Condvar::new(),
        }
    }

    /// Looks over the runs until [`Runs::close`].
    pub(super) fn watch(self: &Arc<Self>, name: &str) {
        let runs = Arc::clone(self);
        let look = move || {
            let every =
                (runs.limit / LOOKS).clamp(Duration::from_millis(5), Duration::from_secs(1));
            let mut state = runs.state();
            while !state.closed {
                state.stop_overdue(runs.limit);
                let waited = runs.closing.wait_timeout(state, every);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        };
        let name = format!("watch-{}", name.replace('\0', ""));
        if let Err(error) = thread::Builder::new().name(name).spawn(look) {
            tracing::error!(%error, "no thread to watch over runs: none will be stopped at its limit");
        }
    }

    pub(super) fn began(&self, session: usize) {
        if let Some(running) = self.state().sessions.get_mut(session) {
            if let (Some(_), Some(stopper)) = (running.stopped.take(), &running.stopper) {
                stopper.reset();
            }
            running.since = Some(Instant::now());
        }
    }

    /// Whether the run was stopped.
    pub(super) fn ended(&self, session: usize) -> bool {
        let mut state = self.state();
        let Some(running) = state.sessions.get_mut(session) else {
            return false;
        };
        running.since = None;
        running.stopped.is_some()
    }

    /// How long the longest run that does not end has been going on.
    pub(super) fn hung(&self) -> Option<Duration> {
        let mut state = self.state();
        // Should there be no thread that looks.
        state.stop_overdue(self.limit);
        let listening = if state.abandoned {
            LISTENING
        } else {
            self.limit.max(LISTENING)
        };
        let deaf = |at: Instant| at.elapsed() > listening;
        let deaf = |running: &&Running| running.stopped.is_some_and(deaf);
        let since = state.sessions.iter().filter(deaf);
        let longest = since.filter_map(|running| running.since).min()?;
        Some(longest.elapsed())
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Stops every run, and those that begin by chance at its next look.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.abandoned = true;
        state.stop_overdue(self.limit);
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.closing.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stop_overdue(&mut self, limit: Duration) {
        for running in &mut self.sessions {
            let over = |since: Instant| self.abandoned || since.elapsed() >= limit;
            if running.stopped.is_none() && running.since.is_some_and(over) {
                running.stopper.iter().for_each(Stopper::stop);
                running.stopped = Some(Instant::now());
            }
        }
    }
}
