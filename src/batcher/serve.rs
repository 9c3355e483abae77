//! A session's side: pull a batch, run it, answer every row of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    BatchObservation,
    request::{RunFacts, Ticket},
    shell::{Leaving, Shared},
    watch::Runs,
};
use crate::{
    fault::Fault,
    message::rejection::Stage,
    tensor::{Outputs, Row, RowOutputs, Steps},
};

/// What a session's thread does until the batcher closes: pull a batch, `run` it, answer its rows.
/// `session` is its place among those whose runs are watched.
pub(super) fn serve(
    shared: &Shared,
    (runs, session): (&Runs, usize),
    mut run: impl FnMut(&[&Row]) -> Result<Outputs, Fault>,
) {
    let _alive = Alive(shared);
    let mut watched = |rows: &[&Row]| {
        runs.began(session);
        let result = catch_unwind(AssertUnwindSafe(|| run(rows)))
            .unwrap_or_else(|_| Err(internal("a panic during a run")));
        let stopped = runs.ended(session);
        result.map_err(|fault| {
            if stopped {
                too_long(runs.limit())
            } else {
                fault
            }
        })
    };
    while let Some(Leaving { left, batch, turn }) = shared.next_batch() {
        let _running = Running(shared);
        settle(shared, left, batch, &mut watched);
        drop(turn);
    }
}

/// Runs a batch and answers all of its rows. A run that fails is repeated in halves until those rows are
/// alone that fail by themselves, so that no batch-mate suffers: of n rows with one culprit, 2 log n
/// more runs.
fn settle(
    shared: &Shared,
    left: Instant,
    batch: Vec<Ticket>,
    run: &mut impl FnMut(&[&Row]) -> Result<Outputs, Fault>,
) {
    let whole = batch.len();
    let mut parts = vec![batch];
    let mut told = false;
    while let Some(part) = parts.pop() {
        let now = Instant::now();
        let wanted = part.into_iter().filter_map(|ticket| ticket.if_wanted(now));
        let mut part: Vec<Ticket> = wanted.collect();
        if part.is_empty() {
            continue;
        }
        let rows: Vec<&Row> = part.iter().filter_map(Ticket::row).collect();
        let began = Instant::now();
        let result = run(&rows).and_then(|outputs| {
            let complete = outputs.rows == part.len();
            complete
                .then_some(outputs)
                .ok_or_else(|| internal("a run of other rows than given"))
        });
        let went_well = result.is_ok();
        let steps = result
            .as_ref()
            .map_or(Steps::default(), |outputs| outputs.steps);
        let over = Instant::now();
        let facts = RunFacts {
            left,
            over,
            run: over.saturating_duration_since(began),
            rows: part.len(),
        };
        if result.is_err() && shared.is_abandoned() {
            return; // stopped: the tickets say so as they are dropped
        }
        match result {
            Ok(outputs) => {
                let outputs = Arc::new(outputs);
                for (row, ticket) in part.into_iter().enumerate() {
                    let outputs = Arc::clone(&outputs);
                    ticket.succeed(RowOutputs { outputs, row }, facts);
                }
            }
            Err(fault) if part.len() > 1 => {
                if !told {
                    tracing::warn!(rows = whole, %fault, "a batch failed, its halves run again");
                    told = true;
                }
                let second = part.split_off(part.len() / 2);
                parts.extend([second, part]);
            }
            Err(fault) => {
                for culprit in part {
                    culprit.fail(fault.clone());
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
}

fn too_long(limit: Duration) -> Fault {
    let detail = format!("the run was stopped after {limit:?} (limits.run_ms)");
    Fault::model(Stage::Predict, detail)
}

fn internal(detail: &str) -> Fault {
    Fault::internal(Stage::Predict, detail)
}

struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.batch_over();
    }
}

/// Counts a session out, however its thread ends.
struct Alive<'a>(&'a Shared);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.session_over();
    }
}
