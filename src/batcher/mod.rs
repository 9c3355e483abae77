//! Rows of many requests become batches that suit the device.
//!
//! [`policy`] says which rows leave together and when, [`sharing`] which package is next on a device that many want;
//! the threads that own the sessions pull batches
//! from it themselves, so that a row changes threads once on its way in and once on its way out.

mod ahead;
mod appetite;
pub mod climb;
mod config;
pub mod curve;
mod device;
mod lane;
mod pipeline;
pub mod policy;
mod pull;
mod queue;
mod refresh;
mod request;
pub mod run_time;
mod serve;
pub mod sharing;
mod shell;
pub mod state;
mod wants;
mod watch;
mod way;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub use self::{
    config::{Config, ConfigFault},
    device::{Device, Member},
    policy::PolicyConfig,
    refresh::{Refreshed, Sizing},
    sharing::Share,
    wants::Wants,
};
use self::{
    lane::Lane,
    pipeline::Places,
    request::{Request, late, no_session},
    serve::serve,
    shell::Shared,
    watch::Runs,
};
use crate::{
    fault::Failure,
    predict::{SessionThread, ThreadGuard},
    tensor::{Row, RowOutputs, Steps},
};

/// The batcher of one package version, with its sessions. Cheap to clone.
///
/// Dropping the last clone ends the sessions once they have finished what they run.
#[derive(Clone)]
pub struct Batcher(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    runs: Arc<Runs>,
    threads: Mutex<Vec<ThreadGuard>>,
}

/// A request that is on its way to the batcher, which may keep a batch waiting for it; dropped if it will not come.
#[must_use = "the batcher waits for it"]
pub struct Coming {
    /// `None` once it has come.
    shared: Option<Arc<Shared>>,
    since: Instant,
}

impl Coming {
    /// It comes now; for how long it was on its way here. Where it was expected elsewhere, it will not come there.
    fn arrives(mut self, now: Instant, here: &Arc<Shared>) -> Option<Duration> {
        let expected = self.shared.take_if(|shared| Arc::ptr_eq(shared, here))?;
        expected.arrives();
        Some(now.saturating_duration_since(self.since))
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.expect_no_more();
        }
    }
}

/// An answer that is on its way to whoever asked: how long that takes is time that others do not have, and where more is
/// asked than may be in hand it makes room for another request.
pub struct Going {
    shared: Arc<Shared>,
    /// The run was over then.
    since: Instant,
}

impl Going {
    /// It leaves; its run was over then.
    fn new(shared: &Arc<Shared>, since: Instant) -> Going {
        shared.trail.begin();
        let shared = Arc::clone(shared);
        Going { shared, since }
    }

    /// It is there. One of which this is not said tells nothing.
    pub fn arrived(self) {
        self.shared.trail.note(self.since.elapsed());
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.shared.trail.end();
    }
}

impl fmt::Debug for Going {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Going").field(&self.since).finish()
    }
}

/// A request's rows, predicted.
#[derive(Debug, Default)]
pub struct Predicted {
    /// One for each row of the request, in the same order.
    pub rows: Vec<RowOutputs>,
    /// From submission until the last of the rows left the queue.
    pub queue_wait: Duration,
    /// The longest run that any of the rows was part of.
    pub predict: Duration,
    /// The largest batch that any of the rows was part of.
    pub batch_size: usize,
    /// When the last run of them was over.
    pub over: Option<Instant>,
    /// To be told when the answer is where it is wanted.
    pub going: Option<Going>,
}

/// One run, as it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchObservation {
    /// Rows that ran together.
    pub rows: usize,
    /// From assembling the rows until the outputs were copied out.
    pub run: Duration,
    /// What ran of their sequences.
    pub steps: Steps,
}

/// The state of a batcher at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatcherStats {
    /// Rows in the queue.
    pub waiting_rows: usize,
    /// Batches that are running.
    pub running_batches: usize,
    /// Sessions that take work. Fewer than were started: a session's thread has died.
    pub sessions_alive: usize,
    /// How long the oldest row in the queue has waited; nil when there is none.
    pub oldest_wait: Duration,
    /// How long a run has been going on that was stopped and does not end: only the end of the process ends it.
    pub hung: Option<Duration>,
}

impl Batcher {
    /// Puts the sessions to work, each on its device: of several devices whichever is free takes what waits. `observer`
    /// hears of every run, on the thread that ran it.
    ///
    /// `sizing` says how large batches are, in place of `config.max_size` where it knows better, and how long runs are
    /// likely to take until some have been seen.
    /// No size may exceed the `max_size` that the sessions were opened with. `name` shows in tools
    /// that list threads. A run that takes `run_limit` is stopped, and its rows fail if they do so alone as well.
    pub fn start(
        name: &str,
        config: PolicyConfig,
        sizing: Sizing,
        run_limit: Duration,
        devices: Vec<(Member, Vec<SessionThread>)>,
        observer: impl Fn(BatchObservation) + Send + Sync + 'static,
    ) -> Batcher {
        let observer = Box::new(observer);
        let (members, sessions): (Vec<_>, Vec<_>) = devices.into_iter().unzip();
        let each = members.into_iter().zip(sessions.iter().map(Vec::len));
        let shared = Arc::new(Shared::new(config, sizing, each, observer));
        let lanes = shared.lanes.iter().zip(sessions);
        let each = lanes.flat_map(|(lane, sessions)| {
            sessions
                .into_iter()
                .map(|session| (Arc::clone(lane), session))
        });
        let sessions: Vec<_> = each.collect();
        let count = sessions.len();
        let stoppers = sessions
            .iter()
            .map(|(_, session)| Some(session.stopper().clone()));
        // What a session launches is waited for in a place of its own, and nothing stops it.
        let stoppers = stoppers.chain(sessions.iter().map(|_| None));
        let runs = Arc::new(Runs::new(run_limit, stoppers));
        runs.watch(name);
        let detach = |(place, (lane, session)): (usize, (Arc<Lane>, SessionThread))| {
            let (shared, runs) = (Arc::clone(&shared), Arc::clone(&runs));
            session.detach(move |session| {
                let at = (&*shared, &*lane);
                if session.depth() == 1 {
                    return serve(at, (&runs, place), |rows| session.run(rows));
                }
                let places = Places {
                    launching: place,
                    landing: count + place,
                };
                pipeline::serve(at, (&runs, places), |rows| {
                    let flight = session.launch(rows)?;
                    Ok(|| flight.land())
                });
            })
        };
        let threads = sessions.into_iter().enumerate().map(detach).collect();
        Batcher(Arc::new(Handle {
            shared,
            runs,
            threads: Mutex::new(threads),
        }))
    }

    /// Tells of a request that is to be submitted.
    pub fn expect(&self) -> Coming {
        self.0.shared.expect();
        Coming {
            shared: Some(Arc::clone(&self.0.shared)),
            since: Instant::now(),
        }
    }

    /// Queues the rows of one request and waits until all of them are predicted. They may run in different
    /// batches. Dropping the future takes out the rows that have not left the queue. `coming` is what
    /// [`expect`](Self::expect) gave for it.
    ///
    /// # Errors
    /// Rejected `overloaded` when the queue has no room for all rows, and `deadline_exceeded` when the
    /// deadline passes before all are predicted, or so much waits that it would. Faulted when a row fails by itself,
    /// whatever its batch, or when no session is left.
    pub async fn submit(
        &self,
        rows: Vec<Row>,
        priority: u8,
        deadline: Instant,
        coming: Option<Coming>,
    ) -> Result<Predicted, Failure> {
        let shared = &self.0.shared;
        let count = rows.len();
        if count == 0 {
            return Ok(Predicted::default());
        }
        shared.came_from(tokio::runtime::Handle::current);
        let now = Instant::now();
        let (request, answered) = Request::new(rows, now, deadline);
        let lead = coming.and_then(|coming| coming.arrives(now, shared));
        let keys = shared.push(&request, count, priority, lead)?;
        let mut claim = Claim {
            shared,
            keys: Some(keys),
        };
        let answer = tokio::time::timeout_at(deadline.into(), answered).await;
        let mut predicted = answer
            .map_err(|_elapsed| late())?
            .map_err(|_dropped| no_session())??;
        claim.keys = None;
        predicted.going = predicted.over.map(|since| Going::new(shared, since));
        Ok(predicted)
    }

    /// What it wants of its queue; no end of it but what may wait, while nothing is known of run times. Where no
    /// request has come yet, one is taken to have `rows_each` rows. `trip` is how long it takes until another comes in
    /// the place of one that was settled, if that is known.
    #[must_use]
    pub fn wants(&self, rows_each: usize, trip: Option<Duration>) -> Wants {
        self.0.shared.wants(rows_each, trip)
    }

    /// Tells that much of what the broker may send is in hand: for a second, a request that is answered makes room for
    /// another, which comes if there is one.
    pub fn filled(&self) {
        self.0.shared.filled();
    }

    /// The most rows of a full batch now: the best b.
    #[must_use]
    pub fn max_size(&self) -> usize {
        self.0.shared.max_size()
    }

    /// What is going on.
    #[must_use]
    pub fn stats(&self) -> BatcherStats {
        BatcherStats {
            hung: self.0.runs.hung(),
            ..self.0.shared.stats()
        }
    }

    /// Takes in nothing more, drops what waits and stops what runs: those who wait for it meet an internal fault.
    pub fn abandon(&self) {
        self.0.shared.abandon();
        self.0.runs.abandon();
    }

    /// Takes in nothing more, finishes what waits, and returns when all sessions are gone.
    pub async fn close(&self) {
        self.0.shared.begin_close();
        self.0.shared.ended().await;
        self.0.runs.close();
        let (threads, shared) = (self.0.take_threads(), Arc::clone(&self.0.shared));
        // The threads only have their sessions to drop; a failure would be a panic there.
        let end = move || {
            drop(threads);
            shared.learnt();
        };
        let _ = tokio::task::spawn_blocking(end).await;
    }
}

impl fmt::Debug for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Batcher").field(&self.stats()).finish()
    }
}

impl Handle {
    fn take_threads(&self) -> Vec<ThreadGuard> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *threads)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_close();
        self.runs.close();
        self.take_threads()
            .into_iter()
            .for_each(ThreadGuard::release);
    }
}

/// A request's place in the queue, given up when dropped.
struct Claim<'a> {
    shared: &'a Shared,
    keys: Option<std::ops::Range<u64>>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(keys) = self.keys.take() {
            self.shared.remove(keys);
        }
    }
}

#[cfg(test)]
mod tests;
