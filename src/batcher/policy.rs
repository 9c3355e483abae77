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
//! (b) it does not pay to wait for more, or
//! (c) the oldest waiting row has waited `max_delay`, or
//! (d) the earliest deadline is no further away than the run may take.
//!
//! **Waiting pays** where requests are on their way ([`Traffic`]), known to be or bound to come in place of those that are
//! answered, and spare more than they cost. One more row in a batch of n spares a run of its own, t(n) + t(1) − t(n + 1)
//! and what it takes to wake for it; that is worth as much to each of the `coming` requests behind it. It costs each of
//! the n rows the time until it comes, which is `lead` ÷ `coming` (Little's law). So a lone request on an idle machine
//! waits for nobody, and under a backlog batches are full.
//!
//! **Too late.** A row that would not be done by its deadline even alone is refused. Where a batch would take longer
//! than the tightest deadline in it allows it is made smaller; but if more rows wait than fit into one, and the smaller
//! batch would cost the nearest of the others its deadline, the device is short: the rows that a full batch is too
//! long for are refused. Predictions are trusted for [`TRUST`] after a run should be over, so that one that is wrong
//! is corrected by the next that runs all the same. A row that would be in time alone is refused as it comes only where
//! hardly any luck of the batches ahead of it would help: that cannot be taken back, and whoever is let in may be refused
//! later.
//!
//! **What holds, whatever is pushed, removed and asked:**
//! 1. A row that was taken in comes out exactly once: in a batch, as refused, or removed.
//! 2. A batch has 1 to `max_size` rows, or up to as many as a trial has, none of them past its deadline,
//!    nor, where predictions are trusted, predicted to be when the run is over.
//! 3. No row stays behind that ranks before one that leaves.
//! 4. While a session asks, no row waits longer than `max_delay` (with n full batches ahead of it, until
//!    the session has asked n times more), and none waits at all while nothing is on its way.
//! 5. Nothing starves: a row of priority p that arrived at t is overtaken by no row that arrives after
//!    t + (10 − p) × `AGEING`.
//!
//! Taking a row in or out is O(log n); a batch looks at no more rows than it may have, and [`Policy::is_hopeless`], for a
//! row that would not be the last of all, at no more than can be ahead of one that is in time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::run_time::RunTime;

/// The head start that one level of priority is worth, and the most that a near deadline is worth
/// within a level.
pub const AGEING: Duration = Duration::from_millis(500);

/// How long predictions are trusted after the last run should be over.
pub const TRUST: Duration = Duration::from_secs(1);

/// What a run costs beside itself: the session and whoever it answers are woken.
const WAKE: Duration = Duration::from_micros(20);

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

/// Requests that are on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub coming: usize,
    /// How long one is on its way from when it is known until it is here, on average.
    pub lead: Duration,
}

/// What leaves the queue at one time.
#[derive(Debug)]
pub struct Leaving<T> {
    /// Run these, in this order; none where all were refused.
    pub batch: Vec<T>,
    /// Rows that would be too late.
    pub refused: Vec<T>,
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
    /// Until then predictions are trusted.
    trusted: Option<Instant>,
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
            trusted: None,
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

    /// Takes out the rows that would be too late even alone.
    pub fn refuse_late(&mut self, now: Instant, runs: &impl RunTime) -> Vec<T> {
        self.refuse(now + self.longest(now, runs, 1))
    }

    /// The batch that leaves now: of up to `max_size` rows, or of up to `trial`.
    pub fn take(&mut self, now: Instant, runs: &impl RunTime, trial: Option<usize>) -> Leaving<T> {
        let mut refused = self.refuse_late(now, runs);
        loop {
            let full = self.rows.len().min(trial.unwrap_or(self.config.max_size));
            let ranked = self.by_rank.iter().take(full).map(|(_, key)| *key);
            let keys: Vec<u64> = ranked.collect();
            let deadlines = keys.iter().filter_map(|key| self.rows.get(key));
            // Of each row and those before it.
            let tightest = deadlines.scan(None, |before: &mut Option<Instant>, row| {
                *before = Some(before.map_or(row.deadline, |at| at.min(row.deadline)));
                *before
            });
            let tightest: Vec<Instant> = tightest.collect();
            // The most that are over before the tightest deadline among them: as a rule all, so these are tried first.
            let over = |before: usize| now + self.longest(now, runs, before + 1);
            let mut sizes = tightest.iter().enumerate().rev();
            let most = sizes.find(|(before, at)| over(*before) < **at);
            let size = most.map_or(0, |(before, _)| before + 1);
            if full == 0 {
                let batch = Vec::new();
                return Leaving { batch, refused };
            }
            let size = size.max(1);
            if size < full && self.rows.len() > full {
                let done = now + self.longest(now, runs, full);
                let rest = (self.rows.len() - size).div_ceil(self.config.max_size);
                let rest = runs.likely(full) * u32::try_from(rest).unwrap_or(u32::MAX);
                let next = now + self.longest(now, runs, size) + rest;
                let other = self.by_deadline.range((done, u64::MAX)..).next();
                if other.is_some_and(|(deadline, _)| next > *deadline) {
                    let late =
                        |key: &u64| self.rows.get(key).is_some_and(|row| row.deadline <= done);
                    let late: Vec<u64> = keys.into_iter().filter(late).collect();
                    refused.extend(late.into_iter().filter_map(|key| self.remove(key)));
                    continue;
                }
            }
            self.trusted = Some(now + runs.longest(size) + TRUST);
            let leaving = keys.into_iter().take(size);
            let batch = leaving.filter_map(|key| self.remove(key)).collect();
            return Leaving { batch, refused };
        }
    }

    /// Whether [`refuse_late`](Self::refuse_late) would refuse any.
    pub(super) fn has_late(&self, now: Instant, runs: &impl RunTime) -> bool {
        let first = self.by_deadline.first();
        first.is_some_and(|(deadline, _)| *deadline <= now + self.longest(now, runs, 1))
    }

    /// When the next batch leaves if nothing changes, perhaps a time in the past; `None` when nothing waits.
    #[must_use]
    pub fn due(&self, runs: &impl RunTime, traffic: Traffic) -> Option<Instant> {
        let oldest = self.oldest()?;
        let rows = self.rows.len();
        if rows >= self.config.max_size || !pays(rows, runs, traffic) {
            return Some(oldest);
        }
        let last_start = self.last_start(runs)?;
        Some(last_start.min(oldest + self.config.max_delay))
    }

    /// When the next batch has to leave if its rows are to be in time, perhaps a time in the past; `None` when nothing
    /// waits.
    #[must_use]
    pub fn last_start(&self, runs: &impl RunTime) -> Option<Instant> {
        let (deadline, _) = self.by_deadline.first()?;
        let rows = self.next_rows();
        deadline.checked_sub(runs.longest(rows)).or(self.oldest())
    }

    /// How many rows the next batch would have now.
    #[must_use]
    pub fn next_rows(&self) -> usize {
        self.rows.len().min(self.config.max_size)
    }

    /// Whether a row that came now would be too late even alone, or hardly be in time behind those that rank before it:
    /// it may as well be told at once. `sessions` run batches side by side.
    #[must_use]
    pub fn is_hopeless(
        &self,
        now: Instant,
        (priority, deadline): (u8, Instant),
        runs: &impl RunTime,
        sessions: usize,
    ) -> bool {
        if !self.trusts(now) {
            return false;
        }
        let most = self.config.max_size;
        let left = deadline.saturating_duration_since(now);
        if left < runs.longest(1) {
            return true;
        }
        // With less than a batch ahead there is nothing to work out.
        if self.rows.len() < most {
            return false;
        }
        let Some(batches) = runs.most_in(left, most) else {
            return false;
        };
        // With less ahead it may be in the next batch, which may be smaller.
        let ahead = (sessions * most).saturating_mul(batches.max(1));
        if self.rows.len() < ahead {
            return false;
        }
        let rank = rank(now, priority, deadline);
        // As a rule it is the last of all, and there is nothing to count.
        if self.by_rank.last().is_some_and(|(last, _)| *last <= rank) {
            return true;
        }
        let before = self.by_rank.range(..(rank, self.next_key));
        before.take(ahead).count() == ahead
    }

    /// Whether the next so many rows would all be in time if they left together, predictions trusted or not.
    #[must_use]
    pub fn in_time(&self, rows: usize, now: Instant, runs: &impl RunTime) -> bool {
        let over = now + runs.longest(rows);
        let next = self.by_rank.iter().take(rows);
        let mut next = next.filter_map(|(_, key)| self.rows.get(key));
        next.all(|row| over < row.deadline)
    }

    /// Most rows of a batch.
    #[must_use]
    pub fn max_size(&self) -> usize {
        self.config.max_size
    }

    /// From now on batches have up to so many rows; at least 1.
    pub fn set_max_size(&mut self, rows: usize) {
        self.config.max_size = rows.max(1);
    }

    /// Rows that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.rows.len()
    }

    /// Most rows that may wait.
    #[must_use]
    pub fn queue_limit(&self) -> usize {
        self.config.queue_limit
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

    fn trusts(&self, now: Instant) -> bool {
        self.trusted.is_some_and(|until| now < until)
    }

    /// How long a run may take, as far as that is to be believed.
    fn longest(&self, now: Instant, runs: &impl RunTime, rows: usize) -> Duration {
        if self.trusts(now) {
            runs.longest(rows)
        } else {
            Duration::ZERO
        }
    }

    /// Takes out the rows whose deadline is no later than this.
    fn refuse(&mut self, by: Instant) -> Vec<T> {
        let mut refused = Vec::new();
        while let Some((deadline, key)) = self.by_deadline.first().copied()
            && deadline <= by
        {
            refused.extend(self.remove(key));
        }
        refused
    }
}

/// Whether it pays to keep so many rows waiting for more.
fn pays(rows: usize, runs: &impl RunTime, Traffic { coming, lead }: Traffic) -> bool {
    if coming == 0 {
        return false;
    }
    let apart = runs.likely(rows) + runs.likely(1) + WAKE;
    let spared = apart.saturating_sub(runs.likely(rows + 1)).as_nanos();
    let (rows, coming) = (rows as u128, coming as u128);
    rows.saturating_mul(lead.as_nanos()) < spared.saturating_mul(coming * coming)
}

fn rank(now: Instant, priority: u8, deadline: Instant) -> Instant {
    let lacking = TOP_PRIORITY.saturating_sub(priority);
    deadline.min(now + AGEING) + AGEING * u32::from(lacking)
}

#[cfg(test)]
#[path = "tests/policy.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/policy_cases.rs"]
mod cases;

#[cfg(test)]
#[path = "tests/policy_load.rs"]
mod load;
