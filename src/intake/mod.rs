//! Delivery → engine → reply → settled: the only place where a delivery's fate is decided.
//!
//! Every path ends in one of two ways: something the broker confirmed (a reply, a retry, a dead letter)
//! and then an ack; or, when the worker ends before that, no ack, and the broker delivers again.

mod config;
mod duplicates;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod head;
mod judge;
mod strays;
mod suspects;
mod verdict;

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use crate::{
    batcher::Coming,
    broker::{Broker, Delivery, Handler, PublishFault, Publisher},
    duplicates::{Duplicates, Entry},
    engine::Engine,
    failpoint,
    fault::Fault,
    message::rejection::Stage,
    telemetry::metrics::{InFlight, PackageMetrics},
};

pub(crate) use head::head;
use verdict::{Burial, Verdict, package_of};

pub use config::{Config, ConfigFault};

/// How long it may take to give back what was not finished.
const GIVING_BACK: Duration = Duration::from_secs(1);

/// Which of inferq's queues a delivery came from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A package's: to be scored.
    Package(Arc<str>),
    /// `inferq.unknown`: nobody serves what it asks for.
    Unknown,
    /// `inferq.died`: the broker gave up on it.
    Died,
}

/// One queue's deliveries, and where they are counted.
struct Desk {
    source: Source,
    metrics: PackageMetrics,
}

/// A delivery in hand, until it is settled.
struct Case {
    intake: Arc<Intake>,
    desk: Arc<Desk>,
    delivery: Box<Delivery>,
    /// Its batcher knows that it comes.
    coming: Option<Coming>,
    #[expect(dead_code, reason = "the metric counts it until this is dropped")]
    in_flight: InFlight,
    #[expect(dead_code, reason = "`Intake::finish` waits until this is dropped")]
    unfinished: TaskTrackerToken,
}

/// Settles deliveries.
pub struct Intake {
    engine: Engine,
    broker: Arc<Broker>,
    publisher: Publisher,
    config: Config,
    /// Who says so, in the dead letters.
    worker: String,
    duplicates: Option<Duplicates>,
    cases: TaskTracker,
    /// What has no verdict yet goes back.
    given_up: CancellationToken,
    /// And counts as having failed.
    blame: AtomicBool,
}

impl Case {
    /// Comes to a verdict and has it carried out.
    async fn settle(mut self) {
        // Held back until now, to run alone, it has no part in why the others are given up.
        if self.intake.given_up.is_cancelled() {
            return self.delivery.receipt.requeue();
        }
        failpoint::hit("received");
        let coming = self.coming.take();
        self.count();
        let Case {
            intake,
            desk,
            delivery,
            ..
        } = &self;
        let entry = intake.entry(delivery);
        let deciding = AssertUnwindSafe(intake.decide(desk, delivery, entry.as_ref(), coming));
        let verdict = tokio::select! {
            biased;
            verdict = deciding.catch_unwind() => verdict,
            () = intake.given_up.cancelled() => return Box::pin(self.give_back(entry)).await,
        };
        let verdict = verdict.unwrap_or_else(|_| intake.panicked(desk, delivery));
        self.delivery.receipt.decided();
        self.carry_out(entry, verdict).await;
    }

    /// There is no time left for it: whoever gets it next scores it.
    async fn give_back(self, entry: Option<Entry>) {
        if let Some(entry) = entry {
            entry.release().await;
        }
        if self.intake.blame.load(Ordering::Relaxed) {
            self.delivery.receipt.reject();
        } else {
            self.delivery.receipt.requeue();
        }
    }

    fn count(&self) {
        let Desk { metrics, .. } = &*self.desk;
        metrics.requests.increment(1);
        if self.delivery.redelivered {
            metrics.redelivered.increment(1);
        } else if head::returned(&self.delivery.properties) {
            metrics.retries_returned.increment(1);
        }
    }

    /// The end: acknowledged, if the broker has confirmed what was due.
    fn close(self, confirmed: Result<(), PublishFault>) {
        match confirmed {
            Ok(()) => {
                failpoint::hit("confirmed");
                self.delivery.receipt.ack();
                failpoint::hit("acked");
            }
            Err(fault) => {
                let queue = &*self.delivery.queue;
                tracing::warn!(queue, %fault, "nothing confirmed, giving the delivery back");
                self.delivery.receipt.requeue();
            }
        }
    }
}

impl Intake {
    /// An intake that scores with `engine` and answers through `broker`.
    #[must_use]
    pub fn new(engine: Engine, broker: Arc<Broker>, config: Config, worker: String) -> Arc<Intake> {
        Intake::with_duplicates(engine, broker, config, worker, None)
    }

    /// An intake that gives the same request the same bytes, where there is a store to remember them.
    #[must_use]
    pub fn with_duplicates(
        engine: Engine,
        broker: Arc<Broker>,
        config: Config,
        worker: String,
        duplicates: Option<Duplicates>,
    ) -> Arc<Intake> {
        Arc::new(Intake {
            engine,
            publisher: broker.publisher(),
            broker,
            config,
            worker,
            duplicates,
            cases: TaskTracker::new(),
            given_up: CancellationToken::new(),
            blame: AtomicBool::new(false),
        })
    }

    /// What the consumer of a queue calls with each delivery.
    #[must_use]
    pub fn handler(self: &Arc<Self>, source: Source) -> Handler {
        let name = match &source {
            Source::Package(package) => package,
            Source::Unknown => "unknown",
            Source::Died => "died",
        };
        let metrics = PackageMetrics::new(name);
        let (intake, desk) = (Arc::clone(self), Arc::new(Desk { source, metrics }));
        Arc::new(move |delivery| {
            let coming = match &desk.source {
                Source::Package(package) => intake.engine.expect(package),
                Source::Unknown | Source::Died => None,
            };
            let case = Case {
                coming,
                in_flight: desk.metrics.in_flight(),
                unfinished: intake.cases.token(),
                intake: Arc::clone(&intake),
                desk: Arc::clone(&desk),
                delivery,
            };
            // Boxed: a task is moved three times until it runs, and this one is more than 1 KiB.
            tokio::spawn(Box::pin(case.settle()));
        })
    }

    /// What is given back from now on counts as having failed: one of it hangs, and is to run alone next time. (RabbitMQ
    /// 4.3 counts what is rejected, and nothing else.)
    pub fn blame(&self) {
        self.blame.store(true, Ordering::Relaxed);
    }

    /// Waits until every delivery in hand is settled, or for so long, and then gives back those that have no verdict:
    /// nothing comes of what has begun for them. Returns how many were not settled.
    pub async fn finish(&self, patience: Duration) -> usize {
        self.cases.close();
        let settled = tokio::time::timeout(patience, self.cases.wait()).await;
        if settled.is_ok() {
            return 0;
        }
        let left = self.cases.len();
        self.given_up.cancel();
        // A reply that is on its way has until the broker's side is closed.
        let _ = tokio::time::timeout(GIVING_BACK, self.cases.wait()).await;
        left
    }

    async fn decide(
        &self,
        desk: &Desk,
        delivery: &Delivery,
        entry: Option<&Entry>,
        coming: Option<Coming>,
    ) -> Verdict {
        match &desk.source {
            Source::Package(package) => {
                let id = delivery.properties.message_id();
                failpoint::of(id, self.judge(package, (desk, delivery), entry, coming)).await
            }
            Source::Unknown => self.refuse(delivery),
            Source::Died => self.explain(desk, delivery).await,
        }
    }

    /// A bug of ours: answered as such, and kept for whoever mends it.
    fn panicked(&self, desk: &Desk, delivery: &Delivery) -> Verdict {
        let fault = Fault::internal(Stage::Decide, "a panic on the request's way");
        desk.metrics
            .faulted(fault.kind.as_str(), fault.stage.as_str());
        let (head, package) = (head(&delivery.properties), package_of(desk, delivery));
        let reply = self.rejection(delivery, &head, &package, &fault.rejection());
        let why = Burial::new("internal_fault", fault.stage);
        match self.next_try(&package, delivery, &head) {
            Some(ms) => Verdict::Retry(ms, why, reply),
            None => Verdict::Bury(why, Some(reply)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F>(_: impl Fn(Case) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_of_a_request_is_small() {
        let bytes = size(Case::settle);
        assert!(bytes <= 4_096, "one is of {bytes}: an await wants a box");
    }
}
