//! One request on its way through the batcher: rows in, one answer out.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::Predicted;
use crate::{
    fault::{Failure, Fault},
    message::rejection::{Code, Rejection, Stage},
    tensor::{Row, RowOutputs},
};

/// The whole request gets one answer.
pub(super) type Answer = Result<Predicted, Failure>;

/// The rows of one request, and where their outputs gather.
#[derive(Debug)]
pub(super) struct Request {
    rows: Vec<Row>,
    came: Instant,
    deadline: Instant,
    gathered: Mutex<Gathered>,
}

#[derive(Debug)]
struct Gathered {
    /// Taken by whoever answers first.
    answer: Option<oneshot::Sender<Answer>>,
    rows: Vec<Option<RowOutputs>>,
    missing: usize,
    queue_wait: Duration,
    predict: Duration,
    batch_size: usize,
}

/// What is known of the run that gave a row its outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunFacts {
    /// When the batch left the queue.
    pub(super) left: Instant,
    /// When the run was over.
    pub(super) over: Instant,
    pub(super) run: Duration,
    pub(super) rows: usize,
}

impl Request {
    pub(super) fn new(
        rows: Vec<Row>,
        came: Instant,
        deadline: Instant,
    ) -> (Arc<Self>, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        let gathered = Gathered {
            answer: Some(answer),
            rows: vec![None; rows.len()],
            missing: rows.len(),
            queue_wait: Duration::ZERO,
            predict: Duration::ZERO,
            batch_size: 0,
        };
        let request = Arc::new(Request {
            rows,
            came,
            deadline,
            gathered: Mutex::new(gathered),
        });
        (request, answered)
    }

    /// One ticket for each row, in their order.
    pub(super) fn tickets(self: &Arc<Self>) -> impl Iterator<Item = Ticket> {
        (0..self.rows.len()).map(|index| Ticket {
            request: Arc::clone(self),
            index,
            settled: false,
        })
    }

    pub(super) fn came(&self) -> Instant {
        self.came
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, failure: Failure) {
        let answer = self.gathered().answer.take();
        if let Some(answer) = answer {
            let _ = answer.send(Err(failure)); // nobody waits any more
        }
    }
}

/// One row's obligation to be answered. Dropped unanswered, it answers for the session that died with it.
#[must_use = "a row is owed an answer"]
#[derive(Debug)]
pub(super) struct Ticket {
    request: Arc<Request>,
    index: usize,
    settled: bool,
}

impl Ticket {
    pub(super) fn row(&self) -> Option<&Row> {
        self.request.rows.get(self.index)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.request.deadline
    }

    /// The ticket, if its row is still worth a run. One that is late is told so.
    pub(super) fn if_wanted(self, now: Instant) -> Option<Ticket> {
        if self.request.deadline <= now {
            self.fail(late());
            return None;
        }
        let waited_for = |answer: &oneshot::Sender<_>| !answer.is_closed();
        let wanted = self
            .request
            .gathered()
            .answer
            .as_ref()
            .is_some_and(waited_for);
        wanted.then_some(self)
    }

    pub(super) fn succeed(mut self, outputs: RowOutputs, facts: RunFacts) {
        self.settled = true;
        let mut gathered = self.request.gathered();
        let Some(place) = gathered.rows.get_mut(self.index) else {
            return;
        };
        *place = Some(outputs);
        let wait = facts.left.saturating_duration_since(self.request.came);
        gathered.queue_wait = gathered.queue_wait.max(wait);
        gathered.predict = gathered.predict.max(facts.run);
        gathered.batch_size = gathered.batch_size.max(facts.rows);
        gathered.missing -= 1;
        if gathered.missing > 0 {
            return;
        }
        let predicted = Predicted {
            rows: gathered.rows.drain(..).flatten().collect(),
            queue_wait: gathered.queue_wait,
            predict: gathered.predict,
            batch_size: gathered.batch_size,
            over: Some(facts.over),
            going: None,
        };
        let answer = gathered.answer.take();
        drop(gathered);
        if let Some(answer) = answer {
            let _ = answer.send(Ok(predicted)); // nobody waits any more
        }
    }

    pub(super) fn fail(mut self, failure: impl Into<Failure>) {
        self.settled = true;
        self.request.fail(failure.into());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.request.fail(no_session().into());
        }
    }
}

pub(super) fn no_session() -> Fault {
    Fault::internal(Stage::Batch, "no session is left to run this row")
}

pub(super) fn late() -> Rejection {
    Rejection::new(
        Code::DeadlineExceeded,
        Stage::Batch,
        "the deadline passed while the request was waiting for the model; send it again with more time, or when less is waiting",
    )
}

pub(super) fn hopeless() -> Rejection {
    Rejection::new(
        Code::DeadlineExceeded,
        Stage::Batch,
        "too much is waiting for the model to be done with this request by its deadline; send it again with more time, or when less is waiting",
    )
}

pub(super) fn overloaded() -> Rejection {
    Rejection::new(
        Code::Overloaded,
        Stage::Batch,
        "as many requests as this package allows are waiting already; send this one again later",
    )
}

/// Rows that are too late, or would be.
pub(super) fn refuse(tickets: Vec<Ticket>, now: Instant) {
    for ticket in tickets {
        let why = if ticket.deadline() <= now {
            late()
        } else {
            hopeless()
        };
        ticket.fail(why);
    }
}
