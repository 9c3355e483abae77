//! Messages, a channel and handlers around a credit, in any order.

use super::*;
use std::collections::VecDeque;

/// A message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) number: usize,
    suspect: bool,
    /// So often had consumers been cancelled before.
    generation: usize,
    decided: bool,
}

/// A queue of messages (true: a suspect), a channel, and handlers that decide and settle in any order.
pub(super) struct World {
    pub(super) credit: Credit<Came>,
    pub(super) queue: VecDeque<bool>,
    pub(super) number: usize,
    /// So many are wanted; the credit hears of it when a period begins and when it grows.
    wanted: usize,
    generation: usize,
    /// What the broker waits for of the present consumers.
    present: usize,
    pub(super) in_hand: Vec<Came>,
    pub(super) handed: Vec<usize>,
    pub(super) opened: Vec<u16>,
    clean: usize,
}

impl World {
    pub(super) fn new(max: u16, queue: &[bool]) -> Self {
        World {
            credit: Credit::new(max, Demand::default(), boundless()),
            queue: queue.iter().copied().collect(),
            number: 0,
            wanted: usize::MAX,
            generation: 0,
            present: 0,
            in_hand: Vec::new(),
            handed: Vec::new(),
            opened: Vec::new(),
            clean: 0,
        }
    }

    pub(super) fn hand(&mut self, came: Came) {
        let mut running = self.in_hand.iter().filter(|came| !came.decided);
        if came.suspect {
            assert_eq!(running.next(), None, "a suspect is alone");
            assert!(self.credit.open() <= 1);
        } else {
            assert!(!running.any(|came| came.suspect), "nothing joins a suspect");
        }
        self.in_hand.push(came);
        self.handed.push(came.number);
    }

    pub(super) fn has_suspect(&self) -> bool {
        self.credit.held() > 0
            || self
                .in_hand
                .iter()
                .any(|came| came.suspect && !came.decided)
    }

    pub(super) fn former(&self) -> usize {
        let former = |came: &&Came| came.generation < self.generation;
        self.in_hand.iter().filter(former).count()
    }

    pub(super) fn period(&mut self, wanted: usize) {
        self.wanted = wanted;
        self.credit.period(at(wanted), self.former());
        self.clean = 0;
    }

    pub(super) fn deliver(&mut self) {
        let room = usize::from(self.credit.open()) > self.present;
        if let Some(suspect) = room.then(|| self.queue.pop_front()).flatten() {
            self.present += 1;
            let came = Came {
                number: self.number,
                suspect,
                generation: self.generation,
                decided: false,
            };
            self.number += 1;
            if suspect {
                self.clean = 0;
            }
            let count = if suspect { SUSPECT } else { 0 };
            if let Some(came) = self.credit.delivered(came, 1, count, 0) {
                self.hand(came);
            }
        }
    }

    pub(super) fn decide(&mut self, which: usize) {
        let mut running = self.in_hand.iter_mut().filter(|came| !came.decided);
        if let Some(came) = running.nth(which % 3) {
            came.decided = true;
            self.clean += usize::from(!came.suspect);
            self.credit.settled(Settled {
                decided: 1,
                ..Settled::default()
            });
        }
    }

    pub(super) fn settle(&mut self, which: usize) {
        if self.in_hand.is_empty() {
            return;
        }
        let came = self.in_hand.remove(which % self.in_hand.len());
        self.present -= usize::from(came.generation == self.generation);
        let decided = usize::from(!came.decided);
        self.clean += usize::from(!came.suspect) * decided;
        self.credit.settled(Settled { decided, ..ONE });
    }

    pub(super) fn replace(&mut self) {
        let present = self.present;
        if self.credit.awaits_replies(|| present) {
            assert!(present >= self.credit.open().into());
            assert!(self.in_hand.iter().all(|came| came.decided));
            self.credit.replace();
        }
    }

    pub(super) fn step(&mut self) -> bool {
        let before = self.credit.open();
        let begin_with = self.credit.begin_with;
        match self.credit.next() {
            Step::Wait => return false,
            Step::Subscribe(_) if self.credit.want(at(self.wanted)) => {}
            Step::Subscribe(prefetch) => {
                let after = before + prefetch;
                let grown = after <= (GROWTH * before).max(1) && self.clean >= before.into();
                let resumed = after <= begin_with && !self.has_suspect();
                assert!(grown || resumed, "step by step, by clean windows only");
                assert!(usize::from(after) <= self.wanted.max(1), "unwanted");
                self.clean = 0;
                self.credit.subscribed(prefetch);
                let (max, former) = (self.credit.max, self.former());
                assert!(after == 1 || former + usize::from(after) <= max.into());
                assert!(after <= max);
                self.opened.push(after);
            }
            Step::Quiesce => {
                (self.generation, self.present) = (self.generation + 1, 0);
                self.credit.closed();
            }
            Step::Hand(came) => self.hand(came),
        }
        true
    }

    pub(super) fn run_out(&mut self) {
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
        events in vec((0..10_u8, any::<usize>()), 0..600),
    ) {
        let mut world = World::new(max, &queue);
        for (event, which) in events {
            match event {
                0 | 1 => { world.step(); }
                2..=4 => world.deliver(),
                5 => world.settle(which),
                6 => world.decide(which),
                7 => world.replace(),
                8 => world.wanted = which % 50,
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
        prop_assert!(world.credit.held() == 0 && world.in_hand.is_empty());
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
