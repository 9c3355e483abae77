use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

/// The broker's side: tags it waits for.
#[derive(Default)]
struct Peer {
    waiting: RefCell<BTreeSet<u64>>,
    frames: RefCell<usize>,
}

impl Peer {
    fn take(&self, frame: Frame) {
        let mut waiting = self.waiting.borrow_mut();
        *self.frames.borrow_mut() += 1;
        let (tag, multiple) = match frame {
            Frame::Ack { tag, multiple } => (tag, multiple),
            Frame::Requeue(tag) | Frame::Reject(tag) => (tag, false),
        };
        assert!(waiting.contains(&tag), "tag {tag} would be a 406");
        if multiple {
            waiting.retain(|waits| *waits > tag);
        } else {
            waiting.remove(&tag);
        }
    }
}

#[test]
fn what_was_held_back_is_in_hand_from_when_it_is_handed_out() {
    let (mut book, start) = (book(), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    for tag in 1..=3 {
        book.enter(tag, 1, at(tag));
    }
    book.handed(1, at(9));
    assert_eq!(book.oldest(), Some(at(2)));
    book.handed(2, at(8));
    book.handed(3, at(7));
    assert_eq!(book.oldest(), Some(at(7)));
    book.settle(3, Verdict::Ack, at(9), |_| ());
    book.handed(3, at(6));
    assert_eq!(book.oldest(), Some(at(8)), "not what is settled");
}

#[test]
fn what_is_replaced_is_timed_but_not_over_a_hold_or_a_change_of_credit() {
    let (mut book, start) = (book(), Instant::now());
    let at = |millis| start + Duration::from_millis(millis);
    book.credit(4);
    (1..=4).for_each(|tag| book.enter(tag, 1, at(0)));
    book.settle(1, Verdict::Ack, at(10), |_| ());
    book.hold(true, at(11), |_| ());
    book.enter(5, 1, at(20));
    book.hold(false, at(21), |_| ());
    book.settle(2, Verdict::Ack, at(30), |_| ());
    book.credit(5);
    book.enter(6, 1, at(40));
    assert_eq!(book.trip(at(40)), None);
    book.settle(3, Verdict::Ack, at(50), |_| ());
    book.enter(7, 1, at(52));
    assert_eq!(book.trip(at(52)), None, "two were missing");
    book.enter(8, 1, at(54));
    assert_eq!(book.trip(at(54)), Some(Duration::from_millis(12)));
}

fn book() -> Book {
    Book {
        base: 1,
        enough: ENOUGH,
        ..Book::default()
    }
}

proptest! {
    #[test]
    fn whatever_the_order_only_settled_tags_are_settled_and_in_the_end_all(
        events in vec((0..7_u8, any::<usize>()), 1..400),
    ) {
        let (mut book, peer, start) = (book(), Peer::default(), Instant::now());
        let mut in_hand: BTreeSet<u64> = BTreeSet::new();
        let mut buffered: Vec<u64> = Vec::new();
        let (mut next, mut now) = (1, start);
        for (event, which) in events {
            match event {
                // delivered to some consumer's buffer, and taken from there in another order
                0 => {
                    buffered.extend(next..next + 3);
                    peer.waiting.borrow_mut().extend(next..next + 3);
                    next += 3;
                }
                1 if !buffered.is_empty() => {
                    let tag = buffered.swap_remove(which % buffered.len());
                    book.enter(tag, 1, now);
                    in_hand.insert(tag);
                }
                2..=4 if !in_hand.is_empty() => {
                    let tag = *in_hand.iter().nth(which % in_hand.len()).unwrap();
                    in_hand.remove(&tag);
                    let verdict = [Verdict::Ack, Verdict::Ack, Verdict::Requeue, Verdict::Reject]
                        [which % 4];
                    book.settle(tag, verdict, now, |frame| peer.take(frame));
                }
                // from here on something in hand is kept
                5 if book.keep == 0 && !in_hand.is_empty() => {
                    book.keep = *in_hand.iter().nth(which % in_hand.len()).unwrap();
                }
                _ => {
                    now += Duration::from_millis(20);
                    book.flush(now, |frame| peer.take(frame));
                }
            }
            let waiting = peer.waiting.borrow();
            prop_assert!(in_hand.is_subset(&waiting), "nothing in hand is settled");
            prop_assert!(buffered.iter().all(|tag| waiting.contains(tag)), "nor what is unseen");
            prop_assert!(book.keep == 0 || waiting.contains(&book.keep), "nor what is kept");
        }
        for tag in buffered {
            book.enter(tag, 1, now);
            in_hand.insert(tag);
        }
        book.release(now, |frame| peer.take(frame));
        prop_assert_eq!(&*peer.waiting.borrow(), &in_hand);
        prop_assert_eq!((book.in_hand, book.unsent), (in_hand.len(), 0));
    }
}

fn entered(book: &mut Book, peer: &Peer, tags: std::ops::RangeInclusive<u64>, now: Instant) {
    for tag in tags {
        book.enter(tag, 1, now);
        peer.waiting.borrow_mut().insert(tag);
    }
}

#[test]
fn acknowledgements_go_together_up_to_the_first_gap() {
    let (mut book, peer, now) = (book(), Peer::default(), Instant::now());
    entered(&mut book, &peer, 1..=6, now);
    for tag in [3, 1, 2, 5] {
        book.settle(tag, Verdict::Ack, now, |frame| peer.take(frame));
    }
    book.flush(now, |frame| peer.take(frame));
    assert_eq!(*peer.frames.borrow(), 1);
    assert_eq!(*peer.waiting.borrow(), BTreeSet::from([4, 5, 6]));
    book.flush(now + GAP, |frame| peer.take(frame));
    assert_eq!(*peer.waiting.borrow(), BTreeSet::from([4, 6]));
}

#[test]
fn the_last_one_in_hand_is_acknowledged_at_once() {
    let (mut book, peer, now) = (book(), Peer::default(), Instant::now());
    entered(&mut book, &peer, 1..=2, now);
    book.settle(1, Verdict::Ack, now, |frame| peer.take(frame));
    assert_eq!(*peer.frames.borrow(), 0);
    book.settle(2, Verdict::Ack, now, |frame| peer.take(frame));
    assert!(peer.waiting.borrow().is_empty());
}

#[test]
fn what_is_given_back_is_told_of_whatever_else_is_in_hand() {
    let (mut book, peer, now) = (book(), Peer::default(), Instant::now());
    entered(&mut book, &peer, 1..=3, now);
    assert!(book.settle(3, Verdict::Reject, now, |frame| peer.take(frame)));
    assert!(book.settle(2, Verdict::Requeue, now, |frame| peer.take(frame)));
}

#[test]
fn what_is_acknowledged_behind_a_kept_one_is_told_of_as_long_as_something_is_in_hand() {
    let (mut book, peer, now) = (book(), Peer::default(), Instant::now());
    entered(&mut book, &peer, 1..=4, now);
    book.keep = 2;
    book.settle(2, Verdict::Ack, now, |frame| peer.take(frame));
    book.flush(now + GAP, |frame| peer.take(frame));
    assert!(book.settle(3, Verdict::Ack, now + GAP, |frame| peer.take(frame)));
    book.release(now + GAP, |frame| peer.take(frame));
    assert_eq!(*peer.waiting.borrow(), BTreeSet::from([1, 4]));
}

#[test]
fn what_is_acknowledged_at_once_behind_one_given_back_is_told_of() {
    let (mut book, peer, now) = (book(), Peer::default(), Instant::now());
    entered(&mut book, &peer, 1..=3, now);
    book.enough = 1;
    book.settle(1, Verdict::Reject, now, |frame| peer.take(frame));
    assert!(book.settle(2, Verdict::Ack, now, |frame| peer.take(frame)));
    assert_eq!(*peer.waiting.borrow(), BTreeSet::from([3]));
}

#[test]
fn while_held_nothing_is_acknowledged() {
    let (mut book, peer, now) = (book(), Peer::default(), Instant::now());
    entered(&mut book, &peer, 1..=2, now);
    book.hold = true;
    for tag in 1..=2 {
        book.settle(tag, Verdict::Ack, now, |frame| peer.take(frame));
    }
    book.flush(now + GAP, |frame| peer.take(frame));
    assert_eq!(peer.waiting.borrow().len(), 2);
    book.hold = false;
    book.flush(now, |frame| peer.take(frame));
    assert!(peer.waiting.borrow().is_empty());
}

#[test]
fn what_fills_a_gap_is_acknowledged_in_runs_whatever_waits_behind_it() {
    let (mut book, peer, now) = (book(), Peer::default(), Instant::now());
    entered(&mut book, &peer, 1..=1_000, now);
    book.enough = 100;
    for tag in (301..=900).chain(1..=300) {
        book.settle(tag, Verdict::Ack, now, |frame| peer.take(frame));
    }
    assert_eq!(*peer.frames.borrow(), 3);
    assert_eq!(peer.waiting.borrow().len(), 100);
}
