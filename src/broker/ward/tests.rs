use super::*;
use crate::broker::budget::{Budget, Settled};
use crate::broker::credit::{Credit, Step};
use crate::broker::demand::Demand;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::VecDeque;

const ONE: Settled = Settled {
    count: 1,
    bytes: 1,
    decided: 1,
};

/// A queue of messages (true: a suspect), its channel, and what it has in hand.
struct Queue {
    credit: Credit<bool>,
    place: Place,
    waiting: VecDeque<bool>,
    unsettled: usize,
    in_hand: Vec<bool>,
    handed: usize,
}

struct Worker {
    queues: Vec<Queue>,
    now: Instant,
    /// What is in hand for too long counts no more.
    patient: bool,
}

impl Worker {
    fn new(queues: &[Vec<bool>]) -> Worker {
        let (ward, now) = (Arc::new(Ward::default()), Instant::now());
        let queue = |messages: &Vec<bool>| Queue {
            credit: Credit::new(16, Demand::default(), Budget::new(usize::MAX, 1)),
            place: ward.enter(now),
            waiting: messages.iter().copied().collect(),
            unsettled: 0,
            in_hand: Vec::new(),
            handed: 0,
        };
        let queues = queues.iter().map(queue).collect();
        Worker {
            queues,
            now,
            patient: true,
        }
    }

    fn deliver(&mut self, which: usize) {
        let queue = &mut self.queues[which];
        let room = usize::from(queue.credit.open()) > queue.unsettled;
        if let Some(suspect) = room.then(|| queue.waiting.pop_front()).flatten() {
            queue.unsettled += 1;
            let count = if suspect { 2 } else { 0 };
            if let Some(suspect) = queue.credit.delivered(suspect, 1, count, 0) {
                queue.in_hand.push(suspect);
                queue.handed += 1;
            }
        }
        self.check();
    }

    fn settle(&mut self, which: usize) {
        let queue = &mut self.queues[which];
        if queue.in_hand.pop().is_some() {
            queue.unsettled -= 1;
            queue.credit.settled(ONE);
        }
    }

    fn act(&mut self, which: usize) {
        loop {
            self.look_around(which);
            let step = self.queues[which].credit.next();
            if matches!(step, Step::Subscribe(_)) && self.look_around(which) {
                continue;
            }
            let queue = &mut self.queues[which];
            match step {
                Step::Wait => return,
                Step::Subscribe(prefetch) => queue.credit.subscribed(prefetch),
                Step::Quiesce => queue.credit.closed(),
                Step::Hand(suspect) => {
                    queue.in_hand.push(suspect);
                    queue.handed += 1;
                    self.check();
                }
            }
        }
    }

    fn look_around(&mut self, which: usize) -> bool {
        let queue = &mut self.queues[which];
        let others = queue.place.tell(queue.credit.stand(), self.now);
        queue.credit.beside(others);
        others.suspects
    }

    /// A suspect is alone.
    fn check(&self) {
        let in_hand = || self.queues.iter().flat_map(|queue| &queue.in_hand);
        let alone = in_hand().count() <= 1 || !in_hand().any(|suspect| *suspect);
        assert!(
            alone || !self.patient,
            "{:?}",
            in_hand().collect::<Vec<_>>()
        );
    }
}

proptest! {
    #[test]
    fn a_suspect_is_alone_whatever_its_queue_and_every_delivery_is_handed_out_once(
        messages in vec(vec(prop::bool::weighted(0.1), 0..60), 1..4),
        events in vec((0..3_u8, any::<prop::sample::Index>()), 0..600),
    ) {
        let mut worker = Worker::new(&messages);
        for (event, which) in events {
            let which = which.index(messages.len());
            match event {
                0 => worker.act(which),
                1 => worker.deliver(which),
                _ => worker.settle(which),
            }
        }
        for _ in 0..2_000 {
            for which in 0..messages.len() {
                worker.act(which);
                worker.deliver(which);
                worker.settle(which);
            }
        }
        for (queue, messages) in worker.queues.iter().zip(&messages) {
            prop_assert_eq!(queue.handed, messages.len());
            prop_assert_eq!(queue.unsettled, 0);
        }
    }
}

#[test]
fn whoever_can_least_afford_a_crash_is_next_whatever_its_queue() {
    let mut worker = Worker::new(&[vec![true], vec![true]]);
    for (which, count) in [(0, 2), (1, 3)] {
        worker.act(which);
        let queue = &mut worker.queues[which];
        queue.unsettled += 1;
        assert_eq!(queue.credit.delivered(true, 1, count, 7), None);
    }
    for which in [0, 1, 0, 1, 0, 1] {
        worker.act(which);
    }
    let handed = |worker: &Worker| [0, 1].map(|which| worker.queues[which].handed);
    assert_eq!(handed(&worker), [0, 1]);
    worker.settle(1);
    worker.act(1);
    worker.act(0);
    assert_eq!(handed(&worker), [1, 1]);
}

#[test]
fn a_queue_of_which_nothing_is_settled_is_not_waited_for_without_end() {
    let mut worker = Worker::new(&[vec![false; 9], vec![true]]);
    worker.act(0);
    worker.deliver(0);
    worker.act(1);
    let credit = &mut worker.queues[1].credit;
    assert_eq!(credit.delivered(true, 1, 2, 7), None);
    for _ in 0..4 {
        (0..2).for_each(|which| worker.act(which));
    }
    assert_eq!(worker.queues[1].handed, 0, "another is in hand");
    assert_eq!(worker.queues[1].place.again(), Some(worker.now + PATIENCE));
    worker.now += PATIENCE;
    worker.patient = false;
    worker.act(1);
    assert_eq!(worker.queues[1].handed, 1);
    // Nor does one keep the others from consuming.
    worker.now += PATIENCE;
    worker.settle(0);
    worker.act(0);
    assert_eq!(worker.queues[0].credit.open(), 1);
}
