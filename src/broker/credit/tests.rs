mod world;

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use world::World;

const ONE: Settled = Settled {
    count: 1,
    bytes: 1,
    decided: 1,
};

fn at(wanted: usize) -> Demand {
    let most = usize::MAX;
    Demand { wanted, most }
}

fn boundless() -> Budget {
    Budget::new(usize::MAX, 1)
}

#[test]
fn credit_grows_to_its_most_and_no_further() {
    let mut world = World::new(100, &[false; 2_000]);
    world.run_out();
    assert_eq!(world.opened, [1, 4, 16, 64, 100]);
}

#[test]
fn credit_grows_to_what_is_settled_within_a_period_and_no_further() {
    let mut world = World::new(1_000, &[false; 4_000]);
    for _ in 0..100 {
        world.credit.period(Demand::default(), 0);
        for _ in 0..20 {
            while world.step() {}
            world.deliver();
            world.settle(0);
        }
    }
    // Of 16 as many are settled within a period, of 64 they are not.
    assert_eq!(world.opened, [1, 4, 16, 64]);
}

#[test]
fn credit_grows_to_what_is_wanted_by_the_time_it_grows() {
    let mut world = World::new(1_000, &[false; 10]);
    while world.step() {}
    world.deliver();
    world.settle(0);
    assert_eq!(world.credit.next(), Step::Subscribe(3));
    assert!(world.credit.want(at(3)));
    assert!(!world.credit.want(at(3)));
    assert_eq!(world.credit.next(), Step::Subscribe(2));
}

#[test]
fn after_a_suspect_credit_starts_again_at_one() {
    let mut queue = vec![false; 50];
    queue.push(true);
    queue.extend([false; 50]);
    let mut world = World::new(8, &queue);
    world.run_out();
    assert_eq!(world.opened, [1, 4, 8, 1, 4, 8]);
}

#[test]
fn consumers_that_the_broker_cancelled_are_replaced_from_one() {
    let mut world = World::new(8, &[false; 50]);
    world.run_out();
    for prefetch in [1, 3, 4] {
        world.credit.lost(prefetch);
    }
    assert_eq!(world.credit.next(), Step::Subscribe(1));
}

/// Hands out what came back, with how often it did, until it is the poison's turn; what is left then.
fn until_poisoned(messages: &[u64], count: u64, poison: u64) -> Vec<u64> {
    let mut credit = Credit::new(64, Demand::default(), boundless());
    credit.subscribed(64);
    let mut left = messages.to_vec();
    for message in messages {
        assert_eq!(credit.delivered(*message, 1, count, *message), None);
    }
    loop {
        match credit.next() {
            Step::Quiesce => credit.closed(),
            Step::Hand(message) if message == poison => return left,
            Step::Hand(message) => {
                left.retain(|other| *other != message);
                credit.settled(ONE);
            }
            Step::Wait | Step::Subscribe(_) => panic!("the poison is not handed out"),
        }
    }
}

proptest! {
    #[test]
    fn a_poison_that_goes_from_trusted_worker_to_trusted_worker_takes_nobody_along_to_its_end(
        keys in prop::collection::hash_set(any::<u64>(), 1..40),
        seed in any::<u64>(),
    ) {
        // Two crashes have made all of them suspects. Brokers return them in any order, to any worker.
        let all: Vec<u64> = keys.into_iter().collect();
        let poison = all[0];
        let third = until_poisoned(&shuffled(all, seed), 2, poison);
        let fourth = until_poisoned(&shuffled(third, !seed), 3, poison);
        prop_assert_eq!(fourth, [poison], "only it is delivered a fifth time");
    }
}

#[test]
fn whoever_is_one_delivery_from_its_end_does_not_wait_for_a_poison_to_strike() {
    let mut credit = Credit::new(8, Demand::default(), boundless());
    credit.subscribed(8);
    assert_eq!(credit.delivered("poison", 1, 2, 1), None);
    assert_eq!(credit.delivered("lost with three workers", 1, 3, 2), None);
    assert_eq!(credit.next(), Step::Quiesce);
    credit.closed();
    assert_eq!(credit.next(), Step::Hand("lost with three workers"));
}

fn shuffled(mut messages: Vec<u64>, seed: u64) -> Vec<u64> {
    messages.sort_unstable_by_key(|message| message.wrapping_mul(seed | 1).rotate_left(17));
    messages
}

/// Deliveries of `size` bytes until there is nothing to do but wait; the credit that is open then.
fn saturate(credit: &mut Credit<()>, size: usize) -> u16 {
    let settled = Settled {
        count: 1,
        bytes: size,
        decided: 1,
    };
    for _ in 0..10_000 {
        match credit.next() {
            Step::Subscribe(prefetch) => credit.subscribed(prefetch),
            Step::Quiesce => credit.closed(),
            Step::Hand(()) => {}
            Step::Wait => {
                if credit.delivered((), size, 0, 0).is_some() {
                    credit.settled(settled);
                }
            }
        }
    }
    credit.open()
}

#[test]
fn the_credit_is_what_fits_into_the_budget_and_shrinks_at_once() {
    let mut credit = Credit::new(1_000, Demand::default(), Budget::new(1_000_000, 10_000));
    assert_eq!(saturate(&mut credit, 100), 1_000);
    // Of 200 000 bytes five fit; with the sixth in hand there are too many.
    for _ in 0..5 {
        assert!(credit.delivered((), 200_000, 0, 0).is_some());
        assert_eq!(credit.next(), Step::Wait);
    }
    assert!(credit.delivered((), 200_000, 0, 0).is_some());
    assert_eq!(credit.next(), Step::Quiesce);
    credit.closed();
    credit.settled(Settled {
        count: 6,
        bytes: 1_200_000,
        decided: 6,
    });
    assert_eq!(credit.next(), Step::Subscribe(1));
    credit.subscribed(1);
    let open = saturate(&mut credit, 200_000);
    assert!((1..=5).contains(&open), "{open}");
}

#[test]
fn the_credit_grows_no_further_than_is_wanted_and_further_once_more_is() {
    let mut credit = Credit::new(1_000, at(7), boundless());
    assert_eq!(saturate(&mut credit, 1), 7);
    credit.period(at(150), 0);
    assert_eq!(saturate(&mut credit, 1), 150);
    credit.period(at(3), 0);
    assert_eq!(saturate(&mut credit, 1), 150, "to shrink takes a quiesce");
    let mut credit = Credit::new(1_000, at(0), boundless());
    assert_eq!(saturate(&mut credit, 1), 1, "somebody has to begin");
}

#[test]
fn the_credit_shrinks_at_once_where_some_would_be_refused() {
    let most = |most| Demand {
        wanted: usize::MAX,
        most,
    };
    let mut credit = Credit::new(1_000, most(400), boundless());
    assert_eq!(saturate(&mut credit, 1), 300);
    credit.period(most(300), 0);
    assert_eq!(credit.next(), Step::Wait);
    credit.period(most(299), 0);
    assert_eq!(credit.next(), Step::Quiesce);
    credit.closed();
    assert_eq!(saturate(&mut credit, 1), 225);
}

#[test]
fn the_credit_shrinks_where_far_more_is_in_hand_than_is_wanted_for_long() {
    let crowded = || {
        let mut credit = Credit::new(1_000, at(200), boundless());
        assert_eq!(saturate(&mut credit, 1), 200);
        for _ in 0..200 {
            assert!(credit.delivered((), 1, 0, 0).is_some());
        }
        credit
    };
    let mut credit = crowded();
    for wanted in [10, 10, 10, 101, 10, 10, 10] {
        credit.period(at(wanted), 0);
        assert_eq!(credit.next(), Step::Wait, "a whim");
    }
    credit.period(at(10), 0);
    assert_eq!(credit.next(), Step::Quiesce);
    credit.closed();
    for more in [1, 9] {
        assert_eq!(
            credit.next(),
            Step::Subscribe(more),
            "though much is in hand"
        );
        credit.subscribed(more);
    }
    assert_eq!((credit.open(), credit.next()), (10, Step::Wait));

    let mut credit = crowded();
    (0..4).for_each(|_| credit.period(at(10), 0));
    credit.closed();
    assert_eq!(credit.next(), Step::Subscribe(1));
    assert!(credit.want(at(3)));
    credit.subscribed(1);
    assert_eq!(credit.next(), Step::Subscribe(2), "fewer are wanted by now");

    let mut credit = crowded();
    (0..4).for_each(|_| credit.period(at(10), 0));
    assert!(credit.delivered((), 1, SUSPECT, 0).is_none());
    assert_eq!(credit.next(), Step::Quiesce);
    credit.closed();
    assert_eq!(credit.next(), Step::Wait, "the suspect is to be alone");

    let mut credit = crowded();
    credit.settled(Settled {
        count: 185,
        bytes: 185,
        decided: 185,
    });
    (0..9).for_each(|_| credit.period(at(10), 0));
    assert_eq!(credit.next(), Step::Wait, "credit alone does no harm");
}

#[test]
fn a_suspect_with_a_verdict_keeps_nobody_whatever_its_reply_waits_for() {
    let mut credit = Credit::new(8, Demand::default(), boundless());
    credit.subscribed(8);
    for suspect in ["first", "second"] {
        assert_eq!(credit.delivered(suspect, 1, SUSPECT, 7), None);
    }
    assert_eq!(credit.next(), Step::Quiesce);
    credit.closed();
    assert_eq!(credit.next(), Step::Hand("first"));
    assert_eq!(credit.next(), Step::Wait);
    let decided = Settled {
        decided: 1,
        ..Settled::default()
    };
    credit.settled(decided);
    assert_eq!(credit.next(), Step::Hand("second"));
    credit.settled(decided);
    assert_eq!(credit.in_hand(), 2, "their replies wait");
    assert_eq!(credit.next(), Step::Subscribe(1));
}

/// So many were delivered, and their verdicts are known.
fn deliver_and_decide(credit: &mut Credit<()>, count: usize) {
    for _ in 0..count {
        assert!(credit.delivered((), 1, 0, 0).is_some());
    }
    credit.settled(Settled {
        decided: count,
        ..Settled::default()
    });
}

/// The consumers are exchanged; what those have that take their place.
fn exchanged(credit: &mut Credit<()>) -> u16 {
    credit.replace();
    assert_eq!(credit.next(), Step::Quiesce);
    credit.closed();
    while let Step::Subscribe(more) = credit.next() {
        assert!(
            credit.open() > 0 || more == 1,
            "one of 1 may stay to the end of a drain"
        );
        credit.subscribed(more);
    }
    credit.open()
}

#[test]
fn deliveries_that_wait_for_their_replies_keep_no_others_until_as_many_as_may_are_in_hand() {
    for (max, bytes, most) in [(42, usize::MAX, 42), (1_000, 30, 30)] {
        let mut credit = Credit::new(max, Demand::default(), Budget::new(bytes, 1));
        credit.subscribed(4);
        assert!(!credit.awaits_replies(|| 0), "nothing is in hand");
        deliver_and_decide(&mut credit, 3);
        assert!(!credit.awaits_replies(|| 3), "another may come");
        deliver_and_decide(&mut credit, 1);
        while credit.awaits_replies(|| credit.open().into()) {
            let open = exchanged(&mut credit);
            assert!(!credit.awaits_replies(|| 0), "as many may come");
            deliver_and_decide(&mut credit, open.into());
        }
        assert_eq!(credit.in_hand(), most);
    }
}

#[test]
fn what_consumers_have_left_in_hand_is_a_part_of_what_may_be() {
    let mut credit = Credit::new(40, Demand::default(), boundless());
    credit.subscribed(4);
    for _ in 0..8 {
        deliver_and_decide(&mut credit, 4);
        assert_eq!(exchanged(&mut credit), 4);
    }
    for _ in 0..100 {
        let open = usize::from(credit.open());
        deliver_and_decide(&mut credit, open);
        credit.settled(Settled {
            count: open,
            bytes: open,
            decided: 0,
        });
        if let Step::Subscribe(more) = credit.next() {
            credit.subscribed(more);
        }
    }
    assert_eq!((credit.in_hand(), credit.open()), (32, 8));
}

#[test]
fn a_delivery_without_a_verdict_and_a_suspect_are_not_joined_by_what_is_asked_for_anew() {
    let mut credit = Credit::new(40, Demand::default(), boundless());
    credit.subscribed(1);
    assert!(credit.delivered((), 1, 0, 0).is_some());
    assert!(!credit.awaits_replies(|| 1));
    let mut credit = Credit::new(40, Demand::default(), boundless());
    credit.subscribed(1);
    assert!(credit.delivered((), 1, SUSPECT, 0).is_none());
    assert!(!credit.awaits_replies(|| 1), "it is held back");
    assert_eq!(credit.next(), Step::Hand(()));
    assert!(!credit.awaits_replies(|| 1), "it runs");
    credit.settled(Settled {
        decided: 1,
        ..Settled::default()
    });
    assert!(credit.awaits_replies(|| 1));
}

#[test]
fn credit_grows_by_verdicts_however_long_the_replies_take() {
    let mut credit = Credit::new(100, Demand::default(), boundless());
    credit.subscribed(1);
    for open in [1, 4, 16] {
        assert_eq!(
            (usize::from(credit.open()), credit.next()),
            (open, Step::Wait)
        );
        deliver_and_decide(&mut credit, open);
        let Step::Subscribe(more) = credit.next() else {
            panic!("no growth from {open}");
        };
        credit.subscribed(more);
    }
    assert_eq!(credit.open(), 64);
    assert_eq!(credit.in_hand(), 1 + 4 + 16);
}
