use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::VecDeque;

const ONE: Settled = Settled {
    count: 1,
    bytes: 1,
    decided: 1,
};

fn boundless() -> Budget {
    Budget::new(usize::MAX, 1)
}

/// A queue of messages (true: a suspect), a channel, and handlers that settle in any order.
struct World {
    credit: Credit<(usize, bool)>,
    queue: VecDeque<bool>,
    number: usize,
    /// Delivered by the broker and not settled.
    unsettled: usize,
    in_hand: Vec<(usize, bool)>,
    handed: Vec<usize>,
    opened: Vec<u16>,
    clean: usize,
    wanted: u16,
}

impl World {
    fn new(max: u16, queue: &[bool]) -> Self {
        World {
            credit: Credit::new(max, usize::MAX, boundless()),
            queue: queue.iter().copied().collect(),
            number: 0,
            unsettled: 0,
            in_hand: Vec::new(),
            handed: Vec::new(),
            opened: Vec::new(),
            clean: 0,
            wanted: u16::MAX,
        }
    }

    fn hand(&mut self, delivery: (usize, bool)) {
        if delivery.1 {
            assert!(self.in_hand.is_empty(), "a suspect is alone");
            assert!(self.credit.open() <= 1);
        } else {
            assert!(
                !self.in_hand.iter().any(|(_, suspect)| *suspect),
                "nothing joins a suspect"
            );
        }
        self.in_hand.push(delivery);
        self.handed.push(delivery.0);
    }

    fn has_suspect(&self) -> bool {
        self.credit.held() > 0 || self.in_hand.iter().any(|(_, suspect)| *suspect)
    }

    fn period(&mut self, wanted: usize) {
        self.wanted = u16::try_from(wanted).unwrap();
        self.credit.period(wanted);
        self.clean = 0;
    }

    fn deliver(&mut self) {
        let room = usize::from(self.credit.open()) > self.unsettled;
        if let Some(suspect) = room.then(|| self.queue.pop_front()).flatten() {
            self.unsettled += 1;
            let delivery = (self.number, suspect);
            self.number += 1;
            if suspect {
                self.clean = 0;
            }
            if let Some(delivery) =
                self.credit
                    .delivered(delivery, 1, if suspect { SUSPECT } else { 0 }, 0)
            {
                self.hand(delivery);
            }
        }
    }

    fn settle(&mut self, which: usize) {
        if self.in_hand.is_empty() {
            return;
        }
        let (_, suspect) = self.in_hand.remove(which % self.in_hand.len());
        self.unsettled -= 1;
        self.clean += usize::from(!suspect);
        self.credit.settled(ONE);
    }

    fn step(&mut self) -> bool {
        let before = self.credit.open();
        match self.credit.next() {
            Step::Wait => return false,
            Step::Subscribe(prefetch) => {
                let step = before + prefetch <= (GROWTH * before).max(1);
                let shrunk = before == 0 && prefetch <= self.wanted && !self.has_suspect();
                assert!(
                    (step || shrunk) && self.clean >= before.into(),
                    "grows step by step, by clean windows only"
                );
                self.clean = 0;
                self.credit.subscribed(prefetch);
                assert!(self.credit.open() <= self.credit.max);
                self.opened.push(self.credit.open());
            }
            Step::Quiesce => {
                self.clean = 0;
                self.credit.closed();
            }
            Step::Hand(delivery) => self.hand(delivery),
        }
        true
    }

    fn run_out(&mut self) {
        for _ in 0..20_000 {
            while self.step() {}
            self.deliver();
            self.settle(0);
        }
    }
}

proptest! {
    #[test]
    fn suspects_run_alone_and_every_delivery_is_handed_out_once(
        max in 1..40_u16,
        queue in vec(prop::bool::weighted(0.1), 0..200),
        events in vec((0..8_u8, any::<usize>()), 0..600),
    ) {
        let mut world = World::new(max, &queue);
        for (event, which) in events {
            match event {
                0 | 1 => { world.step(); }
                2..=4 => world.deliver(),
                5 | 6 => world.settle(which),
                _ => world.period(which % 50),
            }
        }
        world.period(10_000);
        world.run_out();
        prop_assert_eq!(world.handed.len(), queue.len());
        let mut numbers = world.handed.clone();
        numbers.sort_unstable();
        numbers.dedup();
        prop_assert_eq!(numbers.len(), queue.len());
        prop_assert!(world.credit.held() == 0 && world.unsettled == 0);
    }

    #[test]
    fn a_drained_credit_subscribes_to_nothing(
        queue in vec(prop::bool::weighted(0.2), 0..60),
        events in vec((0..3_u8, any::<usize>()), 0..200),
    ) {
        let mut world = World::new(16, &queue);
        for (event, which) in events {
            match event {
                0 => { world.step(); }
                1 => world.deliver(),
                _ => world.settle(which),
            }
        }
        world.credit.drain();
        let opened = world.opened.len();
        world.run_out();
        prop_assert!(world.credit.is_closed());
        prop_assert_eq!(world.opened.len(), opened);
        prop_assert_eq!(world.handed.len(), world.number);
    }
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
        world.credit.period(usize::MAX);
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
    let mut credit = Credit::new(64, usize::MAX, boundless());
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
    let mut credit = Credit::new(8, usize::MAX, boundless());
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
    let mut credit = Credit::new(1_000, usize::MAX, Budget::new(1_000_000, 10_000));
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
    let mut credit = Credit::new(1_000, 7, boundless());
    assert_eq!(saturate(&mut credit, 1), 7);
    credit.period(150);
    assert_eq!(saturate(&mut credit, 1), 150);
    credit.period(3);
    assert_eq!(saturate(&mut credit, 1), 150, "to shrink takes a quiesce");
    let mut credit = Credit::new(1_000, 0, boundless());
    assert_eq!(saturate(&mut credit, 1), 1, "somebody has to begin");
}

#[test]
fn the_credit_shrinks_where_far_more_is_in_hand_than_is_wanted_for_long() {
    let crowded = || {
        let mut credit = Credit::new(1_000, 200, boundless());
        assert_eq!(saturate(&mut credit, 1), 200);
        for _ in 0..200 {
            assert!(credit.delivered((), 1, 0, 0).is_some());
        }
        credit
    };
    let mut credit = crowded();
    for wanted in [10, 10, 10, 101, 10, 10, 10] {
        credit.period(wanted);
        assert_eq!(credit.next(), Step::Wait, "a whim");
    }
    credit.period(10);
    assert_eq!(credit.next(), Step::Quiesce);
    credit.closed();
    assert_eq!(credit.next(), Step::Subscribe(10), "though much is in hand");
    credit.subscribed(10);
    assert_eq!((credit.open(), credit.next()), (10, Step::Wait));

    let mut credit = crowded();
    (0..4).for_each(|_| credit.period(10));
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
    (0..9).for_each(|_| credit.period(10));
    assert_eq!(credit.next(), Step::Wait, "credit alone does no harm");
}

#[test]
fn a_suspect_with_a_verdict_keeps_nobody_whatever_its_reply_waits_for() {
    let mut credit = Credit::new(8, usize::MAX, boundless());
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
