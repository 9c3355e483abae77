//! The invariants of `policy.rs`, on a simulated clock.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn policy(max_size: usize, max_delay: Duration, queue_limit: usize) -> Policy<usize> {
    Policy::new(PolicyConfig {
        max_size,
        max_delay,
        queue_limit,
    })
}

#[derive(Clone, Debug)]
enum Step {
    Push { priority: u8, patience_ms: u32 },
    Remove(prop::sample::Index),
    Pass { us: u32 },
    Ask { run_ms: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let patience = prop_oneof![Just(0), 1_u32..40, 400_u32..700, Just(30_000)];
    prop_oneof![
        6 => (0_u8..12, patience).prop_map(|(priority, patience_ms)| Step::Push { priority, patience_ms }),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        2 => prop_oneof![0_u32..3_000, 100_000_u32..900_000].prop_map(|us| Step::Pass { us }),
        3 => (0_u32..20).prop_map(|run_ms| Step::Ask { run_ms }),
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
    fn starvation_bound(&self) -> Instant {
        self.arrived + AGEING * u32::from(10 - self.priority.min(9))
    }
}

/// A policy under test beside a plain list of what it should hold.
struct Bench {
    policy: Policy<usize>,
    config: PolicyConfig,
    now: Instant,
    held: HashMap<usize, Held>,
    pushed: usize,
}

impl Bench {
    fn new(config: PolicyConfig) -> Self {
        Bench {
            policy: Policy::new(config),
            config,
            now: Instant::now(),
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

    /// Asks once and checks everything that can be said of the answer.
    fn ask(&mut self, run_time: Duration) -> Option<Instant> {
        let Turn { next, expired } = self.policy.next(self.now, run_time);
        for ticket in expired {
            let row = self.held.remove(&ticket).expect("expired once");
            assert!(row.deadline <= self.now, "expired early");
        }
        assert!(self.held.values().all(|row| row.deadline > self.now));

        let full = self.held.len() >= self.config.max_size;
        let oldest = self.held.values().map(|row| row.arrived).min();
        let waited = oldest.is_some_and(|t| t + self.config.max_delay <= self.now);
        let nearest = self.held.values().map(|row| row.deadline).min();
        let pressed = nearest.is_some_and(|t| t <= self.now + run_time);
        let due = full || waited || pressed;

        let wait = match next {
            Next::Idle => {
                assert!(self.held.is_empty());
                None
            }
            Next::WaitUntil(until) => {
                assert!(!due, "held back a batch that was due");
                assert!(until > self.now);
                let delayed = oldest.is_some_and(|t| t + self.config.max_delay == until);
                let pressed = nearest.is_some_and(|t| t == until + run_time);
                assert!(delayed || pressed, "due at another time");
                Some(until)
            }
            Next::Run(batch) => {
                assert!(due, "let a batch go that was not due");
                self.check_batch(&batch);
                Some(self.now)
            }
        };
        assert_eq!(self.policy.waiting(), self.held.len());
        wait
    }

    fn check_batch(&mut self, batch: &[usize]) {
        assert!((1..=self.config.max_size).contains(&batch.len()));
        let gone: Vec<_> = batch
            .iter()
            .map(|ticket| self.held.remove(ticket).expect("run once"))
            .collect();
        let order = |row: &Held| (rank(row.arrived, row.priority, row.deadline), row.key);
        assert!(gone.is_sorted_by_key(order));
        for left in self.held.values() {
            for row in &gone {
                assert!(
                    order(row) < order(left),
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
    #![proptest_config(ProptestConfig::with_cases(400))]

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
                Step::Ask { run_ms } => drop(bench.ask(MS * run_ms)),
            }
        }
        while let Some(until) = bench.ask(Duration::ZERO) {
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
        for (gap_us, priority, patience_ms) in arrivals {
            let arrival = bench.now + Duration::from_micros(gap_us);
            while let Some(until) = bench.ask(MS) && until < arrival {
                bench.now = until;
                let oldest = bench.held.values().map(|row| row.arrived).min();
                prop_assert!(oldest.is_none_or(|t| t + max_delay >= bench.now));
            }
            bench.now = arrival;
            bench.push(priority, MS * patience_ms);
        }
    }
}

fn entry(priority: u8, deadline: Instant, ticket: usize) -> Entry<usize> {
    Entry {
        priority,
        deadline,
        ticket,
    }
}

#[test]
fn a_higher_priority_goes_first_and_equals_in_the_order_they_came() {
    let now = Instant::now();
    let late = now + Duration::from_secs(30);
    let mut policy = policy(8, Duration::ZERO, 8);
    for (ticket, priority) in [0, 9, 4, 9, 0, 200].into_iter().enumerate() {
        policy.push(now, entry(priority, late, ticket)).unwrap();
    }
    let Next::Run(batch) = policy.next(now, Duration::ZERO).next else {
        panic!("the delay is nil")
    };
    assert_eq!(batch, [1, 3, 5, 2, 0, 4]);
}

#[test]
fn within_a_priority_a_near_deadline_goes_first_but_not_before_a_higher_priority() {
    let now = Instant::now();
    let late = now + Duration::from_secs(30);
    let mut policy = policy(8, Duration::ZERO, 8);
    policy.push(now, entry(0, late, 0)).unwrap();
    policy.push(now, entry(0, now + 50 * MS, 1)).unwrap();
    policy.push(now, entry(1, late, 2)).unwrap();
    let Next::Run(batch) = policy.next(now, Duration::ZERO).next else {
        panic!("the delay is nil")
    };
    assert_eq!(batch, [2, 1, 0]);
}

#[test]
fn a_low_priority_is_served_under_an_endless_load_of_high_ones() {
    let start = Instant::now();
    let mut policy = policy(4, Duration::ZERO, 10_000);
    let patience = Duration::from_secs(30);
    policy.push(start, entry(0, start + patience, 0)).unwrap();
    let mut now = start;
    loop {
        for ticket in 1..=5 {
            let _ = policy.push(now, entry(9, now + patience, ticket));
        }
        if let Next::Run(batch) = policy.next(now, Duration::ZERO).next
            && batch.contains(&0)
        {
            break;
        }
        now += 10 * MS;
        assert!(now < start + AGEING * 14, "the row of priority 0 starves");
    }
    assert!(
        now >= start + AGEING * 9,
        "higher priorities are worth less than they should"
    );
}

#[test]
fn a_batch_leaves_in_time_for_the_earliest_deadline() {
    let now = Instant::now();
    let mut policy = policy(8, 100 * MS, 8);
    policy.push(now, entry(0, now + 60 * MS, 0)).unwrap();
    let turn = policy.next(now, 20 * MS);
    assert_eq!(turn.next, Next::WaitUntil(now + 40 * MS));
    let turn = policy.next(now + 40 * MS, 20 * MS);
    assert_eq!(turn.next, Next::Run(vec![0]));
}

#[test]
fn after_a_flush_nothing_waits_for_others() {
    let now = Instant::now();
    let mut policy = policy(8, 100 * MS, 8);
    policy.push(now, entry(0, now + 60_000 * MS, 0)).unwrap();
    policy.flush();
    assert_eq!(policy.next(now, Duration::ZERO).next, Next::Run(vec![0]));
}
