//! What waits to be published, in three lanes.
//!
//! The main lane is for everything. What was in trouble goes through the others, so that it stalls nobody:
//! - a destination that refuses or does not confirm is *sick* until it takes something again; all that is
//!   bound for it goes through the side lane, a window at a time. Each publication has [`BUDGET`] from its own first
//!   trouble; one that comes for a destination that is sick for longer already gets a single try;
//! - publications that may have broken their channel or connection go one by one, each on a channel of its own; a
//!   connection that breaks meanwhile over something else counts against them all the same.

use crate::broker::publisher::{Outcome, Publication, PublishFault};
use crate::broker::waiter::Waiter;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a publication that the broker does not take is tried again.
const BUDGET: Duration = Duration::from_secs(10);
/// So many destinations are remembered as sick; of more, whichever has been so for longest is forgotten.
const MOST_SICK: usize = 1_024;
/// Channels or connections that may break while a publication is under way, before it is refused.
const BREAKS: u8 = 3;

/// So many windows of the main lane keep the broker busy; more would be smaller, and cost it more. One that takes long
/// does not count.
const WINDOWS: usize = 4;
/// Unless they are small all the same.
const FEW: usize = 32;

/// Which publisher takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Main,
    /// For destinations that are sick.
    Side,
    /// One by one.
    Alone,
}

/// A publication on its way.
pub(super) struct Job {
    /// Boxed: a job is moved often.
    pub(super) publication: Box<Publication>,
    waiter: Waiter,
    /// Since when its destination does not take it.
    troubled: Option<Instant>,
    /// Channels or connections that broke while it was under way.
    broke: u8,
    /// One broke the last time.
    alone: bool,
}

/// Exchange and routing key.
pub(super) type Destination = (String, String);

#[derive(Default)]
struct Lanes {
    main: VecDeque<Job>,
    side: VecDeque<Job>,
    alone: VecDeque<Job>,
    /// Windows of the main lane that are under way, and the messages in them.
    windows: usize,
    messages: usize,
    /// Destinations in trouble whose window is under way: no more than there are tasks.
    served: Vec<Destination>,
    /// Since when each takes nothing.
    sick: HashMap<Destination, Instant>,
    /// Somebody has fallen sick for whom something may wait in the main lane.
    mixed: bool,
    /// When a connection was lost last.
    forgot: Option<Instant>,
    closed: bool,
}

/// The lanes, and who waits for them.
#[derive(Default)]
pub(super) struct Outbox {
    lanes: Mutex<Lanes>,
    main: Notify,
    side: Notify,
    alone: Notify,
}

impl Job {
    fn lane(&self) -> Lane {
        if self.alone {
            Lane::Alone
        } else if self.troubled.is_some() {
            Lane::Side
        } else {
            Lane::Main
        }
    }

    pub(super) fn destination(&self) -> Destination {
        let Publication {
            exchange,
            routing_key,
            ..
        } = &*self.publication;
        (exchange.clone(), routing_key.clone())
    }

    fn is_bound_for(&self, (exchange, routing_key): &Destination) -> bool {
        self.publication.routing_key == *routing_key && self.publication.exchange == *exchange
    }

    pub(super) fn settle(self, outcome: Outcome) {
        self.waiter.hear(outcome);
    }

    fn is_wanted(&self) -> bool {
        self.waiter.waits()
    }
}

impl Outbox {
    /// Takes a publication in; when nothing is taken any more, whoever waits is told that it is closed.
    pub(super) fn push(&self, publication: Publication, waiter: Waiter) {
        let mut job = Job {
            publication: Box::new(publication),
            waiter,
            troubled: None,
            broke: 0,
            alone: false,
        };
        let mut lanes = self.lanes();
        if lanes.closed {
            drop(lanes);
            return job.settle(Err(PublishFault::Closed));
        }
        if !lanes.sick.is_empty() {
            job.troubled = lanes.sick.get(&job.destination()).copied();
        }
        let lane = job.lane();
        lanes.of(lane).push_back(job);
        drop(lanes);
        self.arrived(lane).notify_one();
    }

    /// The next window: up to `most`; of the side lane, those for one destination. Of the main lane nothing while enough
    /// is under way: what waits there goes with the next, when one is [over](Self::over).
    pub(super) fn take(&self, lane: Lane, most: usize) -> Vec<Job> {
        let mut lanes = self.lanes();
        if lane == Lane::Main {
            self.part_sick(&mut lanes);
        }
        // Whoever waited for some has given up, and nothing was sent.
        let window: Vec<Job> = match lane {
            Lane::Main if lanes.is_busy() => return Vec::new(),
            Lane::Main => {
                let count = most.min(lanes.main.len());
                let window: Vec<Job> = lanes.main.drain(..count).filter(Job::is_wanted).collect();
                lanes.windows += usize::from(!window.is_empty());
                lanes.messages += window.len();
                window
            }
            Lane::Side => lanes.take_side(most),
            Lane::Alone => {
                let first = lanes.alone.pop_front().into_iter();
                first.filter(Job::is_wanted).collect()
            }
        };
        let more = match lane {
            Lane::Main => !lanes.main.is_empty(),
            Lane::Side => lanes.next_side().is_some(),
            Lane::Alone => !lanes.alone.is_empty(),
        };
        drop(lanes);
        if more {
            self.arrived(lane).notify_one();
        }
        window
    }

    /// A window of so many messages of the main lane is not under way any more, or takes long.
    pub(super) fn over(&self, messages: usize) {
        let mut lanes = self.lanes();
        lanes.windows -= 1;
        lanes.messages -= messages;
        let more = !lanes.main.is_empty();
        drop(lanes);
        if more {
            self.main.notify_one();
        }
    }

    /// What was under way of the side lane for this destination is over.
    pub(super) fn served(&self, destination: &Destination) {
        self.lanes().served.retain(|served| served != destination);
        self.side.notify_one();
    }

    /// What waits in the main lane for a destination that has turned out to be sick goes to the side lane.
    fn part_sick(&self, lanes: &mut Lanes) {
        if !std::mem::take(&mut lanes.mixed) {
            return;
        }
        let waiting = std::mem::take(&mut lanes.main);
        for mut job in waiting {
            job.troubled = lanes.sick.get(&job.destination()).copied();
            let lane = job.lane();
            lanes.of(lane).push_back(job);
            self.arrived(lane).notify_one();
        }
    }

    /// When something may be there to take.
    pub(super) async fn arrival(&self, lane: Lane) {
        self.arrived(lane).notified().await;
    }

    /// Its destination took it, as it was written then.
    pub(super) fn taken(&self, job: Job, written: Instant) {
        if job.troubled.is_some() && self.lanes().sick.remove(&job.destination()).is_some() {
            let (queue, exchange) = (&job.publication.routing_key, &job.publication.exchange);
            tracing::info!(queue, exchange, "takes messages again");
        }
        job.settle(Ok(written));
    }

    /// Its destination is no more.
    pub(super) fn unroutable(&self, job: Job) {
        let destination = job.destination();
        if job.troubled.is_some() {
            self.lanes().sick.remove(&destination);
        }
        let (exchange, routing_key) = destination;
        job.settle(Err(PublishFault::Unroutable {
            exchange,
            routing_key,
        }));
    }

    /// Its destination did not take it: given back for a later try after the pause, or refused when that
    /// was long enough.
    pub(super) fn not_taken(&self, mut job: Job, reason: &str) -> Option<(Job, Duration)> {
        let now = Instant::now();
        let mut lanes = self.lanes();
        // What it was in before the connection went is forgotten, wherever it was then.
        job.troubled = job
            .troubled
            .filter(|since| lanes.forgot.is_none_or(|at| at < *since));
        let since = *job.troubled.get_or_insert(now);
        job.alone = false;
        let destination = job.destination();
        if !lanes.sick.contains_key(&destination) {
            let (exchange, queue) = &destination;
            tracing::warn!(queue, exchange, reason, "takes no messages");
            let longest = lanes.sick.iter().min_by_key(|(_, since)| **since);
            if let Some((longest, _)) = longest.filter(|_| lanes.sick.len() >= MOST_SICK) {
                let longest = longest.clone();
                lanes.sick.remove(&longest);
            }
            lanes.sick.insert(destination, since);
            lanes.mixed = true;
        }
        drop(lanes);
        let spent = now - since;
        let left = BUDGET.saturating_sub(spent);
        if left.is_zero() {
            job.settle(Err(PublishFault::Refused {
                reason: reason.to_owned(),
            }));
            return None;
        }
        let pause = (spent / 2).clamp(Duration::from_millis(100), Duration::from_secs(2));
        Some((job, pause.min(left)))
    }

    /// The connection is another: what was not taken before it went has its whole budget again.
    pub(super) fn forget_trouble(&self) {
        let mut lanes = self.lanes();
        lanes.sick.clear();
        lanes.forgot = Some(Instant::now());
    }

    /// A channel or connection broke over a message, perhaps over this one: from now on it goes alone.
    /// Refused, and true, when too many did.
    pub(super) fn broke(&self, mut job: Job, reason: &str) -> bool {
        job.alone = true;
        job.broke += 1;
        if job.broke >= BREAKS {
            job.settle(Err(PublishFault::Refused {
                reason: reason.to_owned(),
            }));
            return true;
        }
        self.put_back(vec![job]);
        false
    }

    /// Back to the front of their lanes, in order.
    pub(super) fn put_back(&self, jobs: Vec<Job>) {
        let mut lanes = self.lanes();
        if lanes.closed {
            // First: what follows them is called with the jobs dropped.
            drop(lanes);
            return;
        }
        for job in jobs.into_iter().rev() {
            let lane = job.lane();
            lanes.of(lane).push_front(job);
            self.arrived(lane).notify_one();
        }
    }

    /// Jobs that wait to be taken.
    pub(super) fn waiting(&self) -> usize {
        let lanes = self.lanes();
        lanes.main.len() + lanes.side.len() + lanes.alone.len()
    }

    /// Destinations that take nothing.
    pub(super) fn sick(&self) -> usize {
        self.lanes().sick.len()
    }

    /// Takes no more; what waits is dropped, and so fails as closed.
    pub(super) fn close(&self) {
        let mut lanes = self.lanes();
        lanes.closed = true;
        let dropped = (
            std::mem::take(&mut lanes.main),
            std::mem::take(&mut lanes.side),
            std::mem::take(&mut lanes.alone),
        );
        drop(lanes);
        drop(dropped);
    }

    fn arrived(&self, lane: Lane) -> &Notify {
        match lane {
            Lane::Main => &self.main,
            Lane::Side => &self.side,
            Lane::Alone => &self.alone,
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    fn is_busy(&self) -> bool {
        self.windows >= WINDOWS && self.messages >= FEW
    }

    /// The first that waits for a destination for which nothing is under way.
    fn next_side(&self) -> Option<&Job> {
        let served = |job: &&Job| self.served.iter().any(|to| job.is_bound_for(to));
        self.side.iter().find(|job| !served(job))
    }

    fn take_side(&mut self, most: usize) -> Vec<Job> {
        self.side.retain(Job::is_wanted);
        let Some(destination) = self.next_side().map(Job::destination) else {
            return Vec::new();
        };
        let side = std::mem::take(&mut self.side).into_iter();
        let (theirs, others): (VecDeque<_>, _) =
            side.partition(|job| job.is_bound_for(&destination));
        let mut theirs = theirs.into_iter();
        let window = theirs.by_ref().take(most).collect();
        // Others come first then.
        self.side = others;
        self.side.extend(theirs);
        self.served.push(destination);
        window
    }

    fn of(&mut self, lane: Lane) -> &mut VecDeque<Job> {
        match lane {
            Lane::Main => &mut self.main,
            Lane::Side => &mut self.side,
            Lane::Alone => &mut self.alone,
        }
    }
}

#[cfg(test)]
mod tests;
