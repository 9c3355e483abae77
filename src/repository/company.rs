//! The sessions beside the one that is timed, which are as busy as it is: how long a batch takes depends on them.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    fault::Fault,
    predict::{Flight, Session, SessionThread},
    tensor::Row,
};

/// They run batches until this is dropped.
pub(super) struct Company(Arc<Busy>);

/// What they are busy with.
pub(super) struct Busy {
    /// Of a batch; 0 when it is over.
    rows: AtomicUsize,
    /// The rows of a batch that failed, and why.
    failed: Mutex<Option<(usize, String)>>,
}

impl Busy {
    /// From the next batch on they have so many rows.
    pub(super) fn take_on(&self, rows: usize) {
        self.rows.store(rows, Ordering::Relaxed);
    }
}

impl Company {
    /// Each of the sessions begins with batches of so many of the rows.
    pub(super) fn of(others: &[SessionThread], rows: &Arc<Vec<Row>>, size: usize) -> Company {
        let company = Company(Arc::new(Busy {
            rows: AtomicUsize::new(size),
            failed: Mutex::default(),
        }));
        for other in others {
            let (rows, busy) = (Arc::clone(rows), Arc::clone(&company.0));
            other.begin(move |session| {
                let mut next = rows.iter().cycle();
                loop {
                    let size = busy.rows.load(Ordering::Relaxed);
                    if size == 0 {
                        return;
                    }
                    let ran = launch(session, &mut next, size).and_then(Flight::land);
                    if let Err(fault) = ran {
                        *lock(&busy.failed) = Some((size, fault.to_string()));
                        return;
                    }
                }
            });
        }
        company
    }

    pub(super) fn busy(&self) -> Arc<Busy> {
        Arc::clone(&self.0)
    }

    /// The rows of a batch that failed, and why.
    pub(super) fn failed(&self) -> Option<(usize, String)> {
        lock(&self.0.failed).take()
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        self.0.rows.store(0, Ordering::Relaxed);
    }
}

/// A batch of so many of the rows, in their order.
pub(super) fn launch<'r>(
    session: &mut Session,
    rows: &mut impl Iterator<Item = &'r Row>,
    size: usize,
) -> Result<Flight, Fault> {
    let batch: Vec<&Row> = rows.take(size).collect();
    if batch.iter().all(|row| row.length == 0) {
        session.launch_exact(&batch)
    } else {
        session.launch(&batch)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until a batch is over.
pub(super) fn land(flight: Option<Flight>) -> Result<(), String> {
    let landed = flight.map_or(Ok(()), |flight| flight.land().map(drop));
    landed.map_err(|fault| fault.to_string())
}
