//! A session's side: pull a batch, run it, answer every row of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use super::{
    BatchObservation,
    lane::Lane,
    pull::{Leaving, Next},
    request::{RunFacts, Ticket},
    shell::Shared,
    watch::Runs,
};
use crate::{
    fault::{Fault, FaultKind},
    message::rejection::Stage,
    tensor::{Outputs, Row, RowOutputs, Steps},
};

/// What a session's thread does until the batcher closes: pull a batch for its device, `run` it, answer its rows.
/// `session` is its place among those whose runs are watched.
pub(super) fn serve(
    (shared, lane): (&Shared, &Lane),
    (runs, session): (&Runs, usize),
    mut run: impl FnMut(&[&Row]) -> Result<Outputs, Fault>,
) {
    let _alive = Alive(shared, lane);
    let mut watched = |rows: &[&Row]| watched((runs, session), || run(rows));
    let never = AtomicBool::new(false);
    while let Next::Run(Leaving { left, batch, turn }) = shared.next_batch(lane, &never) {
        let _running = Running(shared);
        settle(shared, left, batch, None, &mut watched);
        drop(turn);
    }
}

/// Where the parts of a batch that was stopped run in less than this part of the limit, it was not their number that
/// took it.
const STALL: u32 = 4;

/// A run that gave nothing.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) fault: Fault,
    /// The limit that it was stopped at, if it was.
    pub(super) stopped: Option<Duration>,
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Broken {
        let stopped = None;
        Broken { fault, stopped }
    }
}

/// Runs something of which others look that it does not take too long.
pub(super) fn watched<T>(
    (runs, session): (&Runs, usize),
    run: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Broken> {
    runs.began(session);
    let result = catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(internal("a panic during a run")));
    let stopped = runs.ended(session).then(|| runs.limit());
    result.map_err(|fault| Broken {
        fault: stopped.map_or(fault, too_long),
        stopped,
    })
}

/// Runs a batch and answers all of its rows. A run that fails is repeated in halves until those rows are
/// alone that fail by themselves, so that no batch-mate suffers: of n rows with one culprit, 2 log n
/// more runs. `failed` is why the whole of it did, and after how long, where it has run already. So many rows are too
/// many where runs were stopped at their limit though no row took so long alone, nor all of them hardly any time in
/// parts; or where they were short of memory and no row was alone. (Of sequences the lengths may be to blame.)
pub(super) fn settle(
    shared: &Shared,
    left: Instant,
    batch: Vec<Ticket>,
    mut failed: Option<(Broken, Duration)>,
    run: &mut impl FnMut(&[&Row]) -> Result<Outputs, Broken>,
) {
    let whole = batch.len();
    let mut parts = vec![batch];
    let mut told = false;
    // Rows of the smallest run that was stopped, and its limit; how long all took that went well, if any did.
    let (mut stopped, mut well): (Option<(usize, Duration)>, Option<Duration>) = (None, None);
    // Rows of the smallest run that was short of memory; those that ran well; whether one failed by itself.
    let (mut short, mut rows_well, mut culprit): (Option<usize>, usize, bool) = (None, 0, false);
    while let Some(part) = parts.pop() {
        let now = Instant::now();
        let wanted = part.into_iter().filter_map(|ticket| ticket.if_wanted(now));
        let mut part: Vec<Ticket> = wanted.collect();
        if part.is_empty() {
            continue;
        }
        let rows: Vec<&Row> = part.iter().filter_map(Ticket::row).collect();
        let began = Instant::now();
        let (result, ran) = match failed.take() {
            Some((broken, ran)) => (Err(broken), Some(ran)),
            None => (run(&rows), None),
        };
        let result = result.and_then(|outputs| Ok(complete(outputs, part.len())?));
        let went_well = result.is_ok();
        let steps = result
            .as_ref()
            .map_or(Steps::default(), |outputs| outputs.steps);
        let over = Instant::now();
        let facts = RunFacts {
            left,
            over,
            run: ran.unwrap_or_else(|| over.saturating_duration_since(began)),
            rows: part.len(),
        };
        if result.is_err() && shared.is_abandoned() {
            return; // stopped: the tickets say so as they are dropped
        }
        if let Err(Broken {
            stopped: Some(limit),
            ..
        }) = &result
        {
            let this = (facts.rows, *limit);
            stopped = Some(stopped.map_or(this, |other| other.min(this)));
        }
        if let Err(Broken { fault, .. }) = &result
            && fault.kind == FaultKind::Memory
            && rows.iter().all(|row| row.length == 0)
        {
            // What has run already had all of its rows.
            let this = if ran.is_some() { whole } else { facts.rows };
            short = Some(short.map_or(this, |other| other.min(this)));
        }
        match result {
            Ok(outputs) => {
                well = Some(well.unwrap_or_default() + facts.run);
                rows_well += facts.rows;
                answer(shared, part, outputs, facts);
            }
            Err(Broken { fault, .. }) if part.len() > 1 => {
                if !told {
                    tracing::warn!(rows = whole, %fault, "a batch failed, its halves run again");
                    told = true;
                }
                let second = part.split_off(part.len() / 2);
                parts.extend([second, part]);
            }
            Err(Broken { fault, .. }) => {
                culprit = true;
                for ticket in part {
                    ticket.fail(fault.clone());
                }
            }
        }
        let observation = BatchObservation {
            rows: facts.rows,
            run: facts.run,
            steps,
        };
        shared.ran(observation, went_well);
    }
    if let Some((rows, limit)) = stopped
        && rows > 1
        && well.is_none_or(|well| well * STALL >= limit)
        && shared.too_many(rows)
    {
        tracing::warn!(
            rows,
            "a batch was stopped at limits.run_ms for the rows it had: batches have fewer from now on; raise run_ms, or lower batch.max_size"
        );
    }
    if let Some(rows) = short
        && !culprit
        && rows_well * 2 >= whole
        && shared.too_many(rows)
    {
        tracing::warn!(
            rows,
            "a batch was short of memory for the rows it had: batches have fewer from now on; raise limits.run_memory_bytes where that is what it met, let fewer packages run on the device, or lower batch.max_size"
        );
    }
}

/// The outputs of a run of so many rows.
pub(super) fn complete(outputs: Outputs, rows: usize) -> Result<Outputs, Fault> {
    if outputs.rows == rows {
        Ok(outputs)
    } else {
        Err(internal("a run of other rows than given"))
    }
}

/// Gives each row its own, on a thread of those who wait for it: this one has the next batch to run, and to wake a
/// task of theirs is cheap there.
pub(super) fn answer(shared: &Shared, tickets: Vec<Ticket>, outputs: Outputs, facts: RunFacts) {
    let answers = Answers {
        tickets,
        outputs: Arc::new(outputs),
        facts,
    };
    if let Some(runtime) = shared.runtime() {
        // Where it has ended, what it is given is dropped at once.
        runtime.spawn(async move { drop(answers) });
    }
}

/// What the rows of a batch are given once this is dropped, wherever that is.
struct Answers {
    tickets: Vec<Ticket>,
    outputs: Arc<Outputs>,
    facts: RunFacts,
}

impl Drop for Answers {
    fn drop(&mut self) {
        for (row, ticket) in self.tickets.drain(..).enumerate() {
            let outputs = Arc::clone(&self.outputs);
            ticket.succeed(RowOutputs { outputs, row }, self.facts);
        }
    }
}

fn too_long(limit: Duration) -> Fault {
    let detail = format!("the run was stopped after {limit:?} (limits.run_ms)");
    Fault::model(Stage::Predict, detail)
}

fn internal(detail: &str) -> Fault {
    Fault::internal(Stage::Predict, detail)
}

pub(super) struct Running<'a>(pub(super) &'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.batch_over();
    }
}

/// Counts a session out, however its thread ends.
pub(super) struct Alive<'a>(pub(super) &'a Shared, pub(super) &'a Lane);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.session_over(self.1);
    }
}
