//! What the policy does, case by case.

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    tests::{AT_ONCE, CROWD, Line, MS, Next, runs},
    *,
};

fn policy(max_size: usize, max_delay: Duration, queue_limit: usize) -> Policy<usize> {
    Policy::new(PolicyConfig {
        max_size,
        max_delay,
        queue_limit,
    })
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
    let Next::Run(batch) = policy.next(now, &AT_ONCE, Traffic::default()).next else {
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
    let Next::Run(batch) = policy.next(now, &AT_ONCE, Traffic::default()).next else {
        panic!("the delay is nil")
    };
    assert_eq!(batch, [2, 1, 0]);
}

#[test]
fn rows_of_one_priority_with_as_much_time_each_are_overtaken_by_no_batch() {
    let line = Line {
        base: 3 * MS,
        each: MS,
    };
    let mut rng = StdRng::seed_from_u64(7);
    let mut policy = policy(4, 2 * MS, 1_000);
    let (mut now, mut came, mut ran, mut last) = (Instant::now(), 0, 0, None);
    for _ in 0..2_000 {
        // More than the device can do: some are refused, and batches are made smaller for others.
        for _ in 0..rng.random_range(0..=9) {
            policy.push(now, entry(0, now + 20 * MS, came)).unwrap();
            came += 1;
            now += MS / 8;
        }
        match policy.next(now, &line, Traffic::default()).next {
            Next::Run(batch) => {
                now += line.likely(batch.len());
                for row in batch {
                    assert!(last < Some(row), "{row} runs after {last:?}");
                    last = Some(row);
                    ran += 1;
                }
            }
            Next::WaitUntil(until) => now = until,
            Next::Idle => {}
        }
    }
    assert!(ran > 5_000 && came > ran + 100, "{ran} of {came} ran");
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
        if let Next::Run(batch) = policy.next(now, &AT_ONCE, Traffic::default()).next
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
    let run = Line {
        base: 20 * MS,
        each: Duration::ZERO,
    };
    let turn = policy.next(now, &run, CROWD);
    assert_eq!(turn.next, Next::WaitUntil(now + 40 * MS));
    let turn = policy.next(now + 40 * MS, &run, CROWD);
    assert_eq!(turn.next, Next::Run(vec![0]));
}

#[test]
fn after_a_flush_nothing_waits_for_others() {
    let now = Instant::now();
    let mut policy = policy(8, 100 * MS, 8);
    policy.push(now, entry(0, now + 60_000 * MS, 0)).unwrap();
    policy.flush();
    assert_eq!(policy.next(now, &AT_ONCE, CROWD).next, Next::Run(vec![0]));
}

#[test]
fn a_lone_row_waits_for_nobody_and_one_of_a_crowd_does() {
    let now = Instant::now();
    let mut policy = policy(8, 100 * MS, 8);
    policy.push(now, entry(0, now + 60_000 * MS, 0)).unwrap();
    let run = Line {
        base: 5 * MS,
        each: MS / 10,
    };
    let traffic = |coming, lead| Traffic { coming, lead };
    for (traffic, waits) in [
        (traffic(0, MS), false),
        (traffic(1, MS), true),
        // It would be there when the run is over as well.
        (traffic(1, 20 * MS), false),
        (traffic(10, 20 * MS), true),
    ] {
        assert_eq!(pays(1, &run, traffic), waits, "{traffic:?}");
    }
    // Where a larger batch spares nothing there is nothing to wait for.
    let linear = Line {
        base: Duration::ZERO,
        each: 50 * MS,
    };
    assert!(!pays(1, &linear, traffic(10, 6 * MS)));
}

#[test]
fn a_batch_is_made_to_suit_its_tightest_deadline_unless_that_costs_others_theirs() {
    let now = Instant::now();
    let run = Line { base: MS, each: MS };
    let first_three = || vec![0, 1, 2];
    for (rows, others, batch, refused) in [
        (8, 60, first_three(), vec![]),
        // Those behind are patient: an urgent row beside a backlog is served.
        (9, 60, first_three(), vec![]),
        // They are not: four ms for three rows, and nine for the others.
        (9, 12, (1..9).collect(), vec![0]),
    ] {
        let mut policy = policy(8, Duration::ZERO, 16);
        // Predictions are trusted from here on.
        policy.push(now, entry(0, now + MS, 99)).unwrap();
        let first = policy.next(now, &AT_ONCE, Traffic::default());
        assert_eq!(first.next, Next::Run(vec![99]));
        for ticket in 0..rows {
            let patience = if ticket == 0 { 5 } else { others };
            policy
                .push(now, entry(0, now + MS * patience, ticket))
                .unwrap();
        }
        let turn = policy.next(now, &run, Traffic::default());
        assert_eq!((turn.next, turn.refused), (Next::Run(batch), refused));
    }
}

#[test]
fn who_would_wait_in_vain_is_told_at_once() {
    let now = Instant::now();
    let run = Line {
        base: 10 * MS,
        each: Duration::ZERO,
    };
    let mut policy = policy(4, Duration::ZERO, 100);
    let hopeless = |policy: &Policy<usize>, priority, patience: u32| {
        policy.is_hopeless(now, (priority, now + MS * patience), &run, 1)
    };
    let far = now + 60_000 * MS;
    policy.push(now, entry(1, far, 0)).unwrap();
    assert!(!hopeless(&policy, 0, 1), "nothing is known yet");
    policy.next(now, &run, Traffic::default());
    assert!(hopeless(&policy, 0, 9) && !hopeless(&policy, 0, 11));
    for ticket in 0..12 {
        policy.push(now, entry(1, far, ticket)).unwrap();
    }
    // Three batches are before it, and then its own.
    assert!(hopeless(&policy, 0, 39) && !hopeless(&policy, 0, 41));
    assert!(!hopeless(&policy, 2, 11), "nobody is before it");
    let later = now + 10 * MS + TRUST;
    assert!(!policy.is_hopeless(later, (0, later + MS), &run, 1));
}

/// A policy that trusts its predictions, and has so many rows of priority 1 with no end of time.
fn ahead_of_it(max_size: usize, rows: usize, runs: &impl RunTime, now: Instant) -> Policy<usize> {
    let mut policy = policy(max_size, Duration::ZERO, 1_000);
    let far = now + Duration::from_secs(3_600);
    policy.push(now, entry(1, far, 0)).unwrap();
    policy.take(now, runs, None);
    for ticket in 1..=rows {
        policy.push(now, entry(1, far, ticket)).unwrap();
    }
    policy
}

proptest! {
    /// Where any batch takes as long as any other, and always the same.
    #[test]
    fn who_is_told_at_once_would_have_been_late_and_nobody_else(
        (max_size, sessions) in (1_usize..6, 1_usize..4),
        rows in 0_usize..40,
        (base, left) in (1_u32..20, 0_u32..200),
    ) {
        let (now, run) = (Instant::now(), Line { base: MS * base, each: Duration::ZERO });
        let mut policy = ahead_of_it(max_size, rows, &run, now);
        let deadline = now + MS * left + MS / 2;
        let hopeless = policy.is_hopeless(now, (0, deadline), &run, sessions);
        policy.push(now, entry(0, deadline, 0)).unwrap();
        let mut round = 0;
        let ran = 'rounds: loop {
            let starts = now + MS * base * round;
            for _ in 0..sessions {
                let leaving = policy.take(starts, &run, None);
                if [&leaving.batch, &leaving.refused].into_iter().any(|who| who.contains(&0)) {
                    break 'rounds leaving.batch.contains(&0);
                }
            }
            round += 1;
        };
        prop_assert_eq!(hopeless, !ran);
    }

    #[test]
    fn who_is_not_behind_a_full_batch_and_would_be_in_time_alone_is_let_in(
        (max_size, sessions) in (1_usize..14, 1_usize..4),
        runs in runs(),
        (behind, more) in (0_usize..60, 0_u32..20_000),
    ) {
        let now = Instant::now();
        let behind = behind.min(sessions * max_size - 1);
        let mut policy = ahead_of_it(max_size, behind, &runs, now);
        // Of no use to it, but they wait.
        for ticket in 100..200 {
            policy.push(now, entry(0, now + Duration::from_secs(3_600), ticket)).unwrap();
        }
        let deadline = now + runs.longest(1) + Duration::from_micros(u64::from(more));
        prop_assert!(!policy.is_hopeless(now, (0, deadline), &runs, sessions));
    }
}

#[test]
fn an_urgent_row_before_a_patient_crowd_is_let_in_and_runs_in_a_smaller_batch() {
    let (now, run) = (Instant::now(), Line { base: MS, each: MS });
    for priority in [1, 9] {
        let mut policy = ahead_of_it(8, 8, &run, now);
        let deadline = now + 5 * MS;
        assert!(!policy.is_hopeless(now, (priority, deadline), &run, 1));
        policy.push(now, entry(priority, deadline, 99)).unwrap();
        let leaving = policy.take(now, &run, None);
        assert_eq!(leaving.batch, [99, 1, 2]);
        assert!(leaving.refused.is_empty());
    }
}

#[test]
fn a_trial_has_more_rows_or_fewer_and_leaves_in_order_if_all_would_be_in_time() {
    let (now, run) = (Instant::now(), Line { base: MS, each: MS });
    for trial in [2, 8] {
        let mut policy = policy(4, Duration::ZERO, 100);
        for ticket in 0..10 {
            policy.push(now, entry(0, now + MS * 30, ticket)).unwrap();
        }
        let leaving = policy.take(now, &run, Some(trial));
        assert_eq!(leaving.batch, (0..trial).collect::<Vec<_>>());
        assert_eq!(policy.take(now, &run, None).batch.len(), 4.min(10 - trial));
    }
    let mut policy = policy(4, Duration::ZERO, 100);
    for (ticket, patience) in [30, 30, 30, 8, 30, 30, 30, 30, 30].into_iter().enumerate() {
        policy
            .push(now, entry(0, now + MS * patience, ticket))
            .unwrap();
    }
    assert!(policy.in_time(6, now, &run));
    assert!(!policy.in_time(7, now, &run), "the fourth would be late");
    policy.set_max_size(6);
    assert_eq!(policy.take(now, &run, None).batch.len(), 6);
}
