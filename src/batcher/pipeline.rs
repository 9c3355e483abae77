//! A session on a device that computes beside the processor: while one batch runs, the next is written and launched
//! behind it.
//!
//! Two threads. The session's own pulls a batch, launches it, and pulls the next; the other waits for what was launched,
//! in its order, and answers its rows. How many are under way at a time is for the device to say, whose turns they take.
//! A batch that fails, wherever, is run in halves by the session's own thread, each waited for.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::AtomicBool,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    BatchObservation,
    device::Turn,
    lane::Lane,
    pull::{Leaving, Next},
    request::{RunFacts, Ticket},
    serve::{Alive, Broken, Running, answer, complete, settle, watched},
    shell::Shared,
    watch::Runs,
};
use crate::{
    fault::Fault,
    tensor::{Outputs, Row},
};

/// A session's places among those whose runs are watched.
#[derive(Clone, Copy)]
pub(super) struct Places {
    /// What its own thread does.
    pub(super) launching: usize,
    /// What the other waits for. Nothing stops it.
    pub(super) landing: usize,
}

/// A batch that was launched.
struct Aloft<'a, F> {
    left: Instant,
    began: Instant,
    tickets: Vec<Ticket>,
    flight: F,
    turn: Turn<'a>,
    running: Running<'a>,
}

/// A batch that failed, why, and after how long.
struct Failed<'a> {
    left: Instant,
    tickets: Vec<Ticket>,
    why: (Broken, Duration),
    running: Running<'a>,
}

/// What the session's thread is to run again.
#[derive(Default)]
struct Again<'a> {
    batches: Mutex<Vec<Failed<'a>>>,
    called: AtomicBool,
}

/// What a session's thread does until the batcher closes: pull a batch for its device, `launch` it, pull the next. What
/// that gives waits until the batch is over, on a thread that is started for it.
pub(super) fn serve<F: FnOnce() -> Result<Outputs, Fault> + Send>(
    (shared, lane): (&Shared, &Lane),
    (runs, places): (&Runs, Places),
    mut launch: impl FnMut(&[&Row]) -> Result<F, Fault>,
) {
    let _alive = Alive(shared, lane);
    let again = Again::default();
    thread::scope(|scope| {
        let (aloft, launched) = channel();
        let name = thread::current()
            .name()
            .unwrap_or_default()
            .replacen("predict", "land", 1);
        let again = &again;
        let lands = move || land((shared, lane), (runs, places.landing), launched, again);
        let lander = match thread::Builder::new().name(name).spawn_scoped(scope, lands) {
            Ok(lander) => lander,
            Err(error) => {
                tracing::error!(%error, "no thread for what a session launches: it takes no work");
                return;
            }
        };
        let own = (runs, places.launching);
        loop {
            again.settle(shared, &mut |rows| watched(own, || launch(rows)?()));
            let (left, batch, turn) = match shared.next_batch(lane, &again.called) {
                Next::Run(Leaving { left, batch, turn }) => (left, batch, turn),
                Next::Called => continue,
                Next::End => break,
            };
            let (began, running) = (Instant::now(), Running(shared));
            let wanted = batch
                .into_iter()
                .filter_map(|ticket| ticket.if_wanted(began));
            let tickets: Vec<Ticket> = wanted.collect();
            if tickets.is_empty() {
                continue;
            }
            let rows: Vec<&Row> = tickets.iter().filter_map(Ticket::row).collect();
            match watched(own, || launch(&rows)) {
                Ok(flight) => {
                    shared.launched(lane, rows.len(), began.elapsed());
                    let batch = Aloft {
                        left,
                        began,
                        tickets,
                        flight,
                        turn,
                        running,
                    };
                    if aloft.send(batch).is_err() {
                        return; // the other thread has died, which joining it tells
                    }
                }
                Err(fault) => again.push(Failed {
                    left,
                    tickets,
                    why: (fault, began.elapsed()),
                    running,
                }),
            }
        }
        drop(aloft);
        if lander.join().is_ok() {
            again.settle(shared, &mut |rows| watched(own, || launch(rows)?()));
        }
    });
}

/// Waits for each batch in turn and answers its rows.
fn land<'a, F: FnOnce() -> Result<Outputs, Fault>>(
    (shared, lane): (&'a Shared, &Lane),
    watch: (&Runs, usize),
    launched: Receiver<Aloft<'a, F>>,
    again: &Again<'a>,
) {
    let mut before: Option<Instant> = None;
    for batch in launched {
        let Aloft {
            left,
            began,
            tickets,
            flight,
            turn,
            running,
        } = batch;
        let rows = tickets.len();
        let result = watched(watch, || complete(flight()?, rows));
        let over = Instant::now();
        drop(turn);
        shared.landed(lane);
        // What it waited behind the batch before is not its own.
        let began = before.map_or(began, |before| before.max(began));
        let run = over.saturating_duration_since(began);
        before = Some(over);
        match result {
            Ok(outputs) => {
                let steps = outputs.steps;
                let facts = RunFacts {
                    left,
                    over,
                    run,
                    rows,
                };
                answer(shared, tickets, outputs, facts);
                shared.ran(BatchObservation { rows, run, steps }, true);
                drop(running);
            }
            Err(fault) => {
                again.push(Failed {
                    left,
                    tickets,
                    why: (fault, run),
                    running,
                });
                shared.call(&again.called);
            }
        }
    }
}

impl<'a> Again<'a> {
    fn push(&self, failed: Failed<'a>) {
        self.batches().push(failed);
    }

    fn batches(&self) -> MutexGuard<'_, Vec<Failed<'a>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs all that failed so far, outside of any turn: it is rare.
    fn settle(&self, shared: &Shared, run: &mut impl FnMut(&[&Row]) -> Result<Outputs, Broken>) {
        let batches = std::mem::take(&mut *self.batches());
        for Failed {
            left,
            tickets,
            why,
            running,
        } in batches
        {
            settle(shared, left, tickets, Some(why), run);
            drop(running);
        }
    }
}
