//! What waits to be published, in two lanes.
//!
//! The main lane is for everything. What was in trouble goes through the other one, so that it stalls nobody:
//! - a destination that refuses or does not confirm is *sick* until it takes something again; all that is
//!   bound for it goes through the side lane, together. Each publication has [`BUDGET`] from its own first
//!   trouble; one that comes for a destination that is sick for longer already gets a single try;
//! - a publication that may have broken its channel or connection goes alone, so that it breaks no other.

use crate::broker::publisher::{Outcome, Publication, PublishFault};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// How long a publication that the broker does not take is tried again.
const BUDGET: Duration = Duration::from_secs(10);
/// So many destinations are remembered as sick; more go through the main lane at first.
const MOST_SICK: usize = 1_024;
/// Channels or connections that a publication may break, alone, before it is refused.
const BREAKS: u8 = 2;

/// Which publisher takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Main,
    Side,
}

/// A publication on its way.
pub(super) struct Job {
    /// Boxed: a job is moved often.
    pub(super) publication: Box<Publication>,
    waiter: Waiter,
    /// Since when its destination does not take it.
    troubled: Option<Instant>,
    alone: bool,
    broke: u8,
}

/// Who is told what became of a publication.
pub(super) enum Waiter {
    /// A task, which may have given up.
    Task(oneshot::Sender<Outcome>),
    /// What follows, wherever the outcome is known.
    Then(Then),
}

/// Called once; dropped before, with [`PublishFault::Closed`].
pub(super) struct Then(Option<Box<dyn FnOnce(Outcome) + Send>>);

impl Then {
    pub(super) fn new(then: impl FnOnce(Outcome) + Send + 'static) -> Then {
        Then(Some(Box::new(then)))
    }

    fn call(&mut self, outcome: Outcome) {
        // A panic there is that publication's own affair: the publisher goes on.
        if let Some(then) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| then(outcome))).is_err()
        {
            tracing::error!("a panic in what follows a publication");
        }
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        self.call(Err(PublishFault::Closed));
    }
}

/// Exchange and routing key.
type Destination = (String, String);

#[derive(Default)]
struct Lanes {
    main: VecDeque<Job>,
    side: VecDeque<Job>,
    /// Since when each takes nothing.
    sick: HashMap<Destination, Instant>,
    closed: bool,
}

/// The lanes, and who waits for them.
#[derive(Default)]
pub(super) struct Outbox {
    lanes: Mutex<Lanes>,
    main: Notify,
    side: Notify,
}

impl Job {
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
        match self.waiter {
            // Whoever waited may have given up.
            Waiter::Task(done) => drop(done.send(outcome)),
            Waiter::Then(mut then) => then.call(outcome),
        }
    }

    fn is_wanted(&self) -> bool {
        match &self.waiter {
            Waiter::Task(done) => !done.is_closed(),
            Waiter::Then(_) => true,
        }
    }
}

impl Outbox {
    /// Takes a publication in; when nothing is taken any more, whoever waits is told that it is closed.
    pub(super) fn push(&self, publication: Publication, waiter: Waiter) {
        let mut job = Job {
            publication: Box::new(publication),
            waiter,
            troubled: None,
            alone: false,
            broke: 0,
        };
        let mut lanes = self.lanes();
        if lanes.closed {
            drop(lanes);
            return job.settle(Err(PublishFault::Closed));
        }
        if !lanes.sick.is_empty() {
            job.troubled = lanes.sick.get(&job.destination()).copied();
        }
        let lane = if job.troubled.is_some() {
            Lane::Side
        } else {
            Lane::Main
        };
        lanes.of(lane).push_back(job);
        drop(lanes);
        self.arrived(lane).notify_one();
    }

    /// The next window: up to `most`; of the side lane, one that must go alone or those for one destination.
    pub(super) fn take(&self, lane: Lane, most: usize) -> Vec<Job> {
        let mut lanes = self.lanes();
        let jobs = lanes.of(lane);
        let window: Vec<Job> = match (lane, jobs.front()) {
            (Lane::Main, _) => jobs.drain(..most.min(jobs.len())).collect(),
            (Lane::Side, None) => Vec::new(),
            (Lane::Side, Some(first)) if first.alone => jobs.pop_front().into_iter().collect(),
            (Lane::Side, Some(first)) => {
                let destination = first.destination();
                let (mut window, mut rest) = (Vec::new(), VecDeque::new());
                for job in jobs.drain(..) {
                    if window.len() < most && !job.alone && job.is_bound_for(&destination) {
                        window.push(job);
                    } else {
                        rest.push_back(job);
                    }
                }
                *jobs = rest;
                window
            }
        };
        let more = !jobs.is_empty();
        drop(lanes);
        if more {
            self.arrived(lane).notify_one();
        }
        // Whoever waited for the others has given up, and nothing was sent.
        window.into_iter().filter(Job::is_wanted).collect()
    }

    /// When something may be there to take.
    pub(super) async fn arrival(&self, lane: Lane) {
        self.arrived(lane).notified().await;
    }

    /// Its destination took it.
    pub(super) fn taken(&self, job: Job) {
        if job.troubled.is_some() && self.lanes().sick.remove(&job.destination()).is_some() {
            let (queue, exchange) = (&job.publication.routing_key, &job.publication.exchange);
            tracing::info!(queue, exchange, "takes messages again");
        }
        job.settle(Ok(()));
    }

    /// Its destination did not take it: given back for a later try after the pause, or refused when that
    /// was long enough.
    pub(super) fn not_taken(&self, mut job: Job, reason: &str) -> Option<(Job, Duration)> {
        let now = Instant::now();
        let since = *job.troubled.get_or_insert(now);
        let mut lanes = self.lanes();
        if lanes.sick.len() < MOST_SICK {
            lanes.sick.entry(job.destination()).or_insert_with(|| {
                let (queue, exchange) = (&job.publication.routing_key, &job.publication.exchange);
                tracing::warn!(queue, exchange, reason, "takes no messages");
                since
            });
        }
        drop(lanes);
        let spent = now - since;
        if spent >= BUDGET {
            job.settle(Err(PublishFault::Refused {
                reason: reason.to_owned(),
            }));
            return None;
        }
        let pause = (spent / 2).clamp(Duration::from_millis(100), Duration::from_secs(2));
        Some((job, pause))
    }

    /// The connection is another: what was not taken before it went has its whole budget again.
    pub(super) fn forget_trouble(&self) {
        let mut lanes = self.lanes();
        lanes.sick.clear();
        lanes.side.iter_mut().for_each(|job| job.troubled = None);
    }

    /// A channel or connection broke over a message, perhaps over this one: from now on it goes alone.
    /// Refused when it did so before.
    pub(super) fn broke(&self, mut job: Job, reason: &str) {
        if job.alone {
            job.broke += 1;
            if job.broke >= BREAKS {
                return job.settle(Err(PublishFault::Refused {
                    reason: reason.to_owned(),
                }));
            }
        }
        job.alone = true;
        self.put_back(Lane::Side, vec![job]);
    }

    /// Back to the front, in order.
    pub(super) fn put_back(&self, lane: Lane, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut lanes = self.lanes();
        if !lanes.closed {
            let lane = lanes.of(lane);
            jobs.into_iter().rev().for_each(|job| lane.push_front(job));
        }
        drop(lanes);
        self.arrived(lane).notify_one();
    }

    /// Jobs that wait to be taken.
    pub(super) fn waiting(&self) -> usize {
        let lanes = self.lanes();
        lanes.main.len() + lanes.side.len()
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
        );
        drop(lanes);
        drop(dropped);
    }

    fn arrived(&self, lane: Lane) -> &Notify {
        match lane {
            Lane::Main => &self.main,
            Lane::Side => &self.side,
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    fn of(&mut self, lane: Lane) -> &mut VecDeque<Job> {
        match lane {
            Lane::Main => &mut self.main,
            Lane::Side => &mut self.side,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::properties::Properties;
    use std::sync::Arc;

    fn publication() -> Publication {
        Publication {
            exchange: String::new(),
            routing_key: "replies".into(),
            body: "1".into(),
            properties: Properties::default().into(),
            mandatory: true,
        }
    }

    #[derive(Default)]
    struct Heard(Arc<Mutex<Vec<Outcome>>>);

    impl Heard {
        fn push(&self, outbox: &Outbox) {
            let heard = Arc::clone(&self.0);
            let then = Then::new(move |outcome| heard.lock().unwrap().push(outcome));
            outbox.push(publication(), Waiter::Then(then));
        }

        fn all(&self) -> Vec<Outcome> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    #[test]
    fn what_follows_a_publication_is_called_once_whatever_becomes_of_it() {
        let (outbox, heard) = (Outbox::default(), Heard::default());
        let closed = [Err(PublishFault::Closed)];
        for _ in 0..4 {
            heard.push(&outbox);
        }
        let mut jobs = outbox.take(Lane::Main, 3).into_iter();
        assert_eq!(heard.all(), []);
        outbox.taken(jobs.next().unwrap());
        assert_eq!(heard.all(), [Ok(())]);
        drop(jobs.next());
        assert_eq!(heard.all(), closed, "a publisher that died with it");
        outbox.close();
        assert_eq!(heard.all(), closed, "what waited");
        outbox.put_back(Lane::Main, jobs.collect());
        assert_eq!(heard.all(), closed, "what was not taken");
        heard.push(&outbox);
        assert_eq!(heard.all(), closed, "what came too late");
    }

    #[test]
    fn what_breaks_channels_alone_is_refused_and_what_follows_hears_it() {
        let (outbox, heard) = (Outbox::default(), Heard::default());
        heard.push(&outbox);
        for lane in [Lane::Main, Lane::Side, Lane::Side] {
            assert_eq!(heard.all(), []);
            let job = outbox.take(lane, 1).pop().unwrap();
            outbox.broke(job, "a frame too large");
        }
        let reason = "a frame too large".to_owned();
        assert_eq!(heard.all(), [Err(PublishFault::Refused { reason })]);
    }

    #[test]
    fn a_panic_in_what_follows_stays_there() {
        let outbox = Outbox::default();
        let then = Then::new(|_| panic!("as a test would have it"));
        outbox.push(publication(), Waiter::Then(then));
        let job = outbox.take(Lane::Main, 1).pop().unwrap();
        outbox.taken(job);
    }
}
