//! The invariants of `policy.rs`, on a simulated clock.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

pub(super) const MS: Duration = Duration::from_millis(1);

/// t(b) = `base` + b × `each`, and never longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) base: Duration,
    pub(super) each: Duration,
}

impl RunTime for Line {
    fn likely(&self, rows: usize) -> Duration {
        self.base + self.each * u32::try_from(rows).unwrap()
    }

    fn longest(&self, rows: usize) -> Duration {
        self.likely(rows)
    }
}

/// Runs that hardly ever take longer than `longest`, which is not likely.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsteady {
    likely: Line,
    longest: Line,
}

impl RunTime for Unsteady {
    fn likely(&self, rows: usize) -> Duration {
        self.likely.likely(rows)
    }

    fn longest(&self, rows: usize) -> Duration {
        self.longest.likely(rows)
    }
}

pub(super) const AT_ONCE: Line = Line {
    base: Duration::ZERO,
    each: Duration::ZERO,
};

/// So many are coming that everybody waits for them.
pub(super) const CROWD: Traffic = Traffic {
    coming: 1_000_000,
    lead: Duration::from_micros(1),
};

/// What a session that asks for work gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    Run(Vec<T>),
    WaitUntil(Instant),
    Idle,
}

/// The same, and what is refused.
#[derive(Debug)]
pub(super) struct Turn<T> {
    pub(super) next: Next<T>,
    pub(super) refused: Vec<T>,
}

impl<T> Policy<T> {
    /// What a session does that has the device.
    pub(super) fn next(&mut self, now: Instant, runs: &impl RunTime, traffic: Traffic) -> Turn<T> {
        self.next_of(now, runs, traffic, None)
    }

    /// The same, where the batch is to be a trial.
    fn next_of(
        &mut self,
        now: Instant,
        runs: &impl RunTime,
        traffic: Traffic,
        trial: Option<usize>,
    ) -> Turn<T> {
        let mut refused = self.refuse_late(now, runs);
        let next = match self.due(runs, traffic) {
            None => Next::Idle,
            Some(due) if due > now => Next::WaitUntil(due),
            Some(_) => {
                let leaving = self.take(now, runs, trial);
                refused.extend(leaving.refused);
                if leaving.batch.is_empty() {
                    Next::Idle
                } else {
                    Next::Run(leaving.batch)
                }
            }
        };
        Turn { next, refused }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push {
        priority: u8,
        patience_ms: u32,
    },
    Remove(prop::sample::Index),
    Pass {
        us: u32,
    },
    Resize {
        max_size: usize,
    },
    Ask {
        runs: Unsteady,
        traffic: Traffic,
        trial: Option<usize>,
    },
}

pub(super) fn runs() -> impl Strategy<Value = Unsteady> {
    let line = || (0_u64..20_000, 0_u64..2_000);
    let more = prop_oneof![Just((0, 0)), line()];
    (line(), more).prop_map(|(likely, more)| {
        let line = |(base, each)| Line {
            base: Duration::from_micros(base),
            each: Duration::from_micros(each),
        };
        Unsteady {
            likely: line(likely),
            longest: line((likely.0 + more.0, likely.1 + more.1)),
        }
    })
}

fn ask() -> impl Strategy<Value = Step> {
    let traffic = (prop_oneof![Just(0), 1_usize..2_000], 0_u64..100_000);
    let trial = prop::option::of(1_usize..14);
    (runs(), traffic, trial).prop_map(|(runs, (coming, lead), trial)| {
        let lead = Duration::from_micros(lead);
        Step::Ask {
            runs,
            traffic: Traffic { coming, lead },
            trial,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let patience = prop_oneof![Just(0), 1_u32..40, 400_u32..700, Just(30_000)];
    prop_oneof![
        6 => (0_u8..12, patience).prop_map(|(priority, patience_ms)| Step::Push { priority, patience_ms }),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        2 => prop_oneof![0_u32..3_000, 100_000_u32..900_000].prop_map(|us| Step::Pass { us }),
        1 => (0_usize..9).prop_map(|max_size| Step::Resize { max_size }),
        4 => ask(),
    ]
}

/// What the test remembers of a row that the policy holds.
#[derive(Clone, Debug)]
struct Held {
    key: u64,
    priority: u8,
    arrived: Instant,
    deadline: Instant,
}

impl Held {
    fn order(&self) -> (Instant, u64) {
        (rank(self.arrived, self.priority, self.deadline), self.key)
    }

    fn starvation_bound(&self) -> Instant {
        self.arrived + AGEING * u32::from(10 - self.priority.min(9))
    }
}

/// A policy under test beside a plain list of what it should hold.
struct Bench {
    policy: Policy<usize>,
    config: PolicyConfig,
    now: Instant,
    /// Until then predictions are trusted.
    trusted: Option<Instant>,
    held: HashMap<usize, Held>,
    pushed: usize,
}

impl Bench {
    fn new(config: PolicyConfig) -> Self {
        Bench {
            policy: Policy::new(config),
            config,
            now: Instant::now(),
            trusted: None,
            held: HashMap::new(),
            pushed: 0,
        }
    }

    fn push(&mut self, priority: u8, patience: Duration) {
        let (ticket, deadline) = (self.pushed, self.now + patience);
        self.pushed += 1;
        let entry = Entry {
            priority,
            deadline,
            ticket,
        };
        match self.policy.push(self.now, entry) {
            Ok(key) => {
                let held = Held {
                    key,
                    priority,
                    arrived: self.now,
                    deadline,
                };
                self.held.insert(ticket, held);
            }
            Err(refused) => {
                assert_eq!(refused, ticket);
                assert_eq!(self.held.len(), self.config.queue_limit, "refused early");
            }
        }
        assert!(self.held.len() <= self.config.queue_limit);
    }

    fn resize(&mut self, max_size: usize) {
        self.policy.set_max_size(max_size);
        self.config.max_size = max_size.max(1);
    }

    /// Asks once and checks everything that can be said of the answer. The batch that leaves, if one does, is a `trial`
    /// of so many rows.
    fn ask(
        &mut self,
        runs: &impl RunTime,
        traffic: Traffic,
        trial: Option<usize>,
    ) -> Option<Instant> {
        let trusted = self.trusted.is_some_and(|until| self.now < until);
        let done = |rows| {
            let run = trusted.then(|| runs.longest(rows));
            self.now + run.unwrap_or_default()
        };
        let most = trial.unwrap_or(self.config.max_size);
        let (alone, together) = (done(1), done(most));
        let short = self.held.len() > most;
        let whole = trial.is_some_and(|rows| {
            let over = self.now + runs.longest(rows);
            let mut next: Vec<_> = self
                .held
                .values()
                .filter(|row| row.deadline > alone)
                .collect();
            next.sort_by_key(|row| row.order());
            next.len() >= rows && next[..rows].iter().all(|row| row.deadline > over)
        });
        let Turn { next, refused } = self.policy.next_of(self.now, runs, traffic, trial);
        // A batch was to leave, and was too long for some of its rows.
        let mut shortened = false;
        for ticket in refused {
            let row = self.held.remove(&ticket).expect("refused once");
            let hopeless = row.deadline <= alone;
            assert!(hopeless || short && row.deadline <= together, "in time");
            shortened |= !hopeless;
        }
        assert!(self.held.values().all(|row| row.deadline > alone));

        let rows = self.held.len();
        let full = rows >= self.config.max_size || !pays(rows, runs, traffic);
        let oldest = self.held.values().map(|row| row.arrived).min();
        let waited = oldest.is_some_and(|t| t + self.config.max_delay <= self.now);
        let nearest = self.held.values().map(|row| row.deadline).min();
        let pressed = nearest.is_some_and(|t| t <= self.now + runs.longest(rows));
        let due = full || waited || pressed || shortened;

        let wait = match next {
            Next::Idle => {
                assert!(self.held.is_empty());
                None
            }
            Next::WaitUntil(until) => {
                assert!(!due, "held back a batch that was due");
                assert!(until > self.now && traffic.coming > 0);
                let delayed = oldest.is_some_and(|t| t + self.config.max_delay == until);
                let pressed = nearest.is_some_and(|t| t == until + runs.longest(rows));
                assert!(delayed || pressed, "due at another time");
                Some(until)
            }
            Next::Run(batch) => {
                assert!(due, "let a batch go that was not due");
                let done = done(batch.len());
                let in_time = |ticket: &usize| self.held[ticket].deadline > done;
                assert!(batch.iter().all(in_time), "run in vain");
                let all = batch.len() == most && !shortened;
                assert!(all || !whole, "a trial without some of its rows");
                self.trusted = Some(self.now + runs.longest(batch.len()) + TRUST);
                self.check_batch(&batch, most);
                Some(self.now)
            }
        };
        assert_eq!(self.policy.waiting(), self.held.len());
        wait
    }

    fn check_batch(&mut self, batch: &[usize], most: usize) {
        assert!((1..=most).contains(&batch.len()));
        let gone: Vec<_> = batch
            .iter()
            .map(|ticket| self.held.remove(ticket).expect("run once"))
            .collect();
        assert!(gone.is_sorted_by_key(Held::order));
        for left in self.held.values() {
            for row in &gone {
                assert!(
                    row.order() < left.order(),
                    "overtook a row of an earlier rank"
                );
                assert!(row.arrived <= left.starvation_bound(), "a row starves");
                let equal = row.priority == left.priority
                    && row.deadline - row.arrived == left.deadline - left.arrived;
                assert!(!equal || row.key < left.key, "not first come, first served");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_happens_every_row_leaves_once_and_in_its_turn(
        steps in prop::collection::vec(step(), 1..200),
        max_size in 1_usize..9,
        max_delay_us in 0_u64..5_000,
        queue_limit in 1_usize..40,
    ) {
        let max_delay = Duration::from_micros(max_delay_us);
        let mut bench = Bench::new(PolicyConfig { max_size, max_delay, queue_limit });
        for step in steps {
            match step {
                Step::Push { priority, patience_ms } => bench.push(priority, MS * patience_ms),
                Step::Remove(index) if !bench.held.is_empty() => {
                    let mut tickets: Vec<_> = bench.held.keys().copied().collect();
                    tickets.sort_unstable();
                    let ticket = *index.get(&tickets);
                    let row = bench.held.remove(&ticket).unwrap();
                    prop_assert_eq!(bench.policy.remove(row.key), Some(ticket));
                    prop_assert_eq!(bench.policy.remove(row.key), None);
                }
                Step::Remove(_) => {}
                Step::Pass { us } => bench.now += Duration::from_micros(us.into()),
                Step::Resize { max_size } => bench.resize(max_size),
                Step::Ask { runs, traffic, trial } => drop(bench.ask(&runs, traffic, trial)),
            }
        }
        while let Some(until) = bench.ask(&AT_ONCE, CROWD, None) {
            bench.now = until;
        }
        prop_assert!(bench.held.is_empty());
    }

    #[test]
    fn while_a_session_asks_no_row_waits_longer_than_the_delay(
        arrivals in prop::collection::vec((0_u64..3_000, 0_u8..10, 1_u32..60), 1..100),
        max_size in 1_usize..9,
        max_delay_us in 0_u64..4_000,
    ) {
        let max_delay = Duration::from_micros(max_delay_us);
        let mut bench = Bench::new(PolicyConfig { max_size, max_delay, queue_limit: 1_000 });
        let run = Line { base: MS, each: Duration::ZERO };
        for (gap_us, priority, patience_ms) in arrivals {
            let arrival = bench.now + Duration::from_micros(gap_us);
            while let Some(until) = bench.ask(&run, CROWD, None) && until < arrival {
                bench.now = until;
                let oldest = bench.held.values().map(|row| row.arrived).min();
                prop_assert!(oldest.is_none_or(|t| t + max_delay >= bench.now));
            }
            bench.now = arrival;
            bench.push(priority, MS * patience_ms);
        }
    }
}
