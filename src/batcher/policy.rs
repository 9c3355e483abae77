//! Which rows leave together, and when. Pure: time is an argument, there is no channel and no thread.
//!
//! **Order.** A row's rank is an instant: the nearer of its deadline and its arrival + [`AGEING`], moved
//! back by one `AGEING` for every priority level that it lacks; the earliest rank goes first, and among
//! equals the one that came first. So, among rows of one age, a higher priority always goes first; within
//! a priority it is first come, first served, but for rows whose deadline is nearer than `AGEING`.
//! A rank never changes, so that ageing costs nothing: it is newer rows that rank later and later.
//!
//! **A batch leaves** as soon as a session asks and
//! (a) `max_size` rows wait, or
//! (b) the oldest waiting row has waited `max_delay`, or
//! (c) the earliest deadline is no further away than the run is predicted to take.
//!
//! **What holds, whatever is pushed, removed and asked:**
//! 1. A row that was taken in comes out exactly once: in a batch, as expired, or removed.
//! 2. A batch has 1 to `max_size` rows, and none of them is past its deadline.
//! 3. No row stays behind that ranks before one that leaves.
//! 4. While a session asks, no row waits longer than `max_delay` (with n full batches ahead of it, until
//!    the session has asked n times more).
//! 5. Nothing starves: a row of priority p that arrived at t is overtaken by no row that arrives after
//!    t + (10 − p) × `AGEING`.
//!
//! Every operation is O(log n) a row.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// The head start that one level of priority is worth, and the most that a near deadline is worth
/// within a level.
pub const AGEING: Duration = Duration::from_millis(500);

/// AMQP's highest priority; more counts as this much.
const TOP_PRIORITY: u8 = 9;

/// How a package wants its rows batched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Most rows of a batch; at least 1.
    pub max_size: usize,
    /// How long a row may wait for others.
    pub max_delay: Duration,
    /// Most rows that wait.
    pub queue_limit: usize,
}

/// A row that asks to be batched.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// 0 to 9, higher first.
    pub priority: u8,
    /// When nobody wants the answer any more.
    pub deadline: Instant,
    /// Whatever the caller wants back.
    pub ticket: T,
}

/// What a session that asks for work gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Run these, in this order.
    Run(Vec<T>),
    /// Nothing is due before then; ask again at that time, or when more has been pushed.
    WaitUntil(Instant),
    /// Nothing waits.
    Idle,
}

/// The answer to one [`Policy::next`].
#[derive(Debug)]
pub struct Turn<T> {
    /// What the session is to do.
    pub next: Next<T>,
    /// Rows whose deadline has passed; they are no longer waiting.
    pub expired: Vec<T>,
}

#[derive(Debug)]
struct Waiting<T> {
    rank: Instant,
    deadline: Instant,
    arrived: Instant,
    ticket: T,
}

/// The rows that wait, and the rules above.
#[derive(Debug)]
pub struct Policy<T> {
    config: PolicyConfig,
    next_key: u64,
    /// By key, and so by arrival.
    rows: BTreeMap<u64, Waiting<T>>,
    by_rank: BTreeSet<(Instant, u64)>,
    by_deadline: BTreeSet<(Instant, u64)>,
}

impl<T> Policy<T> {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(config: PolicyConfig) -> Self {
        Policy {
            config: PolicyConfig {
                max_size: config.max_size.max(1),
                ..config
            },
            next_key: 0,
            rows: BTreeMap::new(),
            by_rank: BTreeSet::new(),
            by_deadline: BTreeSet::new(),
        }
    }

    /// Takes a row in. Keys rise by one with every row.
    ///
    /// # Errors
    /// The ticket, when `queue_limit` rows wait already.
    pub fn push(&mut self, now: Instant, entry: Entry<T>) -> Result<u64, T> {
        if self.room() == 0 {
            return Err(entry.ticket);
        }
        let key = self.next_key;
        self.next_key += 1;
        let row = Waiting {
            rank: rank(now, entry.priority, entry.deadline),
            deadline: entry.deadline,
            arrived: now,
            ticket: entry.ticket,
        };
        self.by_rank.insert((row.rank, key));
        self.by_deadline.insert((row.deadline, key));
        self.rows.insert(key, row);
        Ok(key)
    }

    /// Takes a row out that nobody wants any more; `None` when it has left already.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        let row = self.rows.remove(&key)?;
        self.by_rank.remove(&(row.rank, key));
        self.by_deadline.remove(&(row.deadline, key));
        Some(row.ticket)
    }

    /// Says what a session is to do now, if a batch of what waits is predicted to run for `run_time`.
    pub fn next(&mut self, now: Instant, run_time: Duration) -> Turn<T> {
        let expired = self.expire(now);
        let next = match self.due(run_time) {
            None => Next::Idle,
            Some(due) if due > now => Next::WaitUntil(due),
            Some(_) => Next::Run(self.take()),
        };
        Turn { next, expired }
    }

    /// When the next batch leaves if nothing changes, perhaps a time in the past; `None` when nothing waits.
    #[must_use]
    pub fn due(&self, run_time: Duration) -> Option<Instant> {
        let (_, oldest) = self.rows.first_key_value()?;
        let (deadline, _) = self.by_deadline.first()?;
        if self.rows.len() >= self.config.max_size {
            return Some(oldest.arrived);
        }
        let last_start = deadline.checked_sub(run_time).unwrap_or(oldest.arrived);
        Some(last_start.min(oldest.arrived + self.config.max_delay))
    }

    /// Rows that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.rows.len()
    }

    /// Rows that could be taken in.
    #[must_use]
    pub fn room(&self) -> usize {
        self.config.queue_limit.saturating_sub(self.rows.len())
    }

    /// When the row that has waited longest came.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.rows.first_key_value().map(|(_, row)| row.arrived)
    }

    /// From now on no row waits for others.
    pub fn flush(&mut self) {
        self.config.max_delay = Duration::ZERO;
    }

    /// Takes out everything, in the order of arrival.
    pub fn clear(&mut self) -> Vec<T> {
        self.by_rank.clear();
        self.by_deadline.clear();
        let rows = std::mem::take(&mut self.rows);
        rows.into_values().map(|row| row.ticket).collect()
    }

    fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((deadline, key)) = self.by_deadline.first().copied()
            && deadline <= now
        {
            expired.extend(self.remove(key));
        }
        expired
    }

    fn take(&mut self) -> Vec<T> {
        let mut batch = Vec::with_capacity(self.config.max_size.min(self.rows.len()));
        while batch.len() < self.config.max_size
            && let Some((_, key)) = self.by_rank.first().copied()
        {
            batch.extend(self.remove(key));
        }
        batch
    }
}

fn rank(now: Instant, priority: u8, deadline: Instant) -> Instant {
    let lacking = TOP_PRIORITY.saturating_sub(priority);
    deadline.min(now + AGEING) + AGEING * u32::from(lacking)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
