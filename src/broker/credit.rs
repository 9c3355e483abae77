//! How many deliveries a queue may have in hand, and when a suspect runs. Pure: no clock, no channel.
//!
//! A crash makes the broker count a delivery of every message in hand, innocents too. So credit starts at
//! 1 and grows with each window that has its verdicts, and a delivery that was seen before (a *suspect*) runs alone.
//!
//! What always holds:
//! 1. `open`, the sum of the consumers' prefetches, and what others have left in hand that are no more, are at most
//!    `max` together (but for one, where nothing is open); from 1 it grows to at most [`GROWTH`] times
//!    itself, to no more than is wanted and fits into the budget of bytes, and only after verdicts on `open` deliveries
//!    since it last changed and since the last [`Credit::period`], none of them a suspect. Where more bytes are in hand
//!    than the budget has, it begins anew.
//! 2. A suspect is handed out only while nothing without a verdict is in hand, of this queue or of others, and `open`
//!    is at most 1, and nothing else is handed out until its own is known. While others have suspects nothing is
//!    consumed.
//! 3. Every delivery is handed out exactly once. What is held back is counted as well when a suspect takes
//!    the worker with it, so whoever can least afford that comes first: the more suspected before the less,
//!    and equals by a key that a message has on every worker, upwards at even counts and downwards at odd
//!    ones. The first crash among equals leaves its culprit with the lowest key of those that come back; the
//!    next worker has it last, alone. (The order of arrival will not do: it is another at each worker.)
//! 4. After a quiesce nothing is consumed until all that was held back has its verdicts.
//! 5. It grows to three quarters at most of what may be in hand without some being refused. Where more than that are
//!    open when a period begins, or where twice as many are in hand as are wanted for [`SURPLUS`] periods, it shrinks
//!    to what is wanted, as far as there is room: the rest of the backlog is for other workers.
//! 6. Deliveries whose verdicts are known keep no others for long, whatever their replies wait for: where they are all
//!    that the broker sends, as many are asked for anew as are wanted, until `max` and the budget allow no more.

mod held;

use crate::broker::budget::{Budget, Settled};
use crate::broker::demand::Demand;
use crate::broker::ward::{Others, Stand};
use held::Held;

/// A delivery that was given back or lost so often is a suspect: it runs alone.
const SUSPECT: u64 = 2;

/// What a window with its verdicts multiplies the credit by. Each step adds a consumer, and a `multiple`
/// acknowledgement is an entry in the queue's log for each consumer that it covers: by doubling it takes eleven to
/// reach 1000, by this six.
const GROWTH: u16 = 4;

/// So many periods with too many deliveries in hand are no whim.
const SURPLUS: u8 = 4;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// Nothing until something is delivered or settled.
    Wait,
    /// Add a consumer of this prefetch, unless fewer are [wanted](Credit::want) by now; call [`Credit::subscribed`].
    Subscribe(u16),
    /// Stop acknowledging until nothing more can arrive, cancel all consumers, take what they still hold,
    /// then call [`Credit::closed`].
    Quiesce,
    /// Hand this one out: it is alone.
    Hand(T),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Consuming, or about to.
    Open,
    /// Consumers are being cancelled.
    Quiescing,
    /// Nothing is consumed.
    Closed,
}

/// The credit of one queue on one channel; `T` is a delivery.
#[derive(Debug)]
pub(super) struct Credit<T> {
    max: u16,
    /// More are of no use.
    wanted: u16,
    budget: Budget,
    open: u16,
    in_hand: usize,
    /// So many of those at most are of consumers that have all been given up; exact when a period begins.
    former: usize,
    /// Of those in hand, the ones without a verdict: they may take the worker with them.
    undecided: usize,
    /// Verdicts since `open` last changed, a suspect was last seen or a period began.
    verdicts: usize,
    held: Vec<Held<T>>,
    /// The one in hand is a suspect.
    alone: bool,
    phase: Phase,
    draining: bool,
    others: Others,
    /// Periods in a row with far more in hand than is wanted.
    surplus: u8,
    /// What the credit begins with once all consumers are cancelled, whatever is in hand, and never more than is wanted
    /// by then; 0: anew, when nothing in hand is without a verdict.
    begin_with: u16,
}

impl<T> Credit<T> {
    pub(super) fn new(max: u16, demand: Demand, budget: Budget) -> Self {
        Credit {
            max: max.max(1),
            wanted: capped(demand.grows_to()),
            budget,
            open: 0,
            in_hand: 0,
            former: 0,
            undecided: 0,
            verdicts: 0,
            held: Vec::new(),
            alone: false,
            phase: Phase::Open,
            draining: false,
            others: Others::default(),
            surplus: 0,
            begin_with: 0,
        }
    }

    /// The sum of the consumers' prefetches.
    pub(super) fn open(&self) -> u16 {
        self.open
    }

    pub(super) fn in_hand(&self) -> usize {
        self.in_hand
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// How this queue stands, for the others.
    pub(super) fn stand(&self) -> Stand {
        let (closed, suspects) = (self.is_closed(), self.alone || !self.held.is_empty());
        Stand {
            closed,
            suspects,
            in_hand: if closed || suspects {
                self.undecided
            } else {
                0
            },
            turn: self.held.iter().map(Held::turn).min(),
        }
    }

    /// The other queues stand like this.
    pub(super) fn beside(&mut self, others: Others) {
        self.others = others;
        if others.suspects {
            self.begin_with = 0;
            self.close_down();
        }
    }

    /// Whether something waits for verdicts.
    pub(super) fn is_careful(&self) -> bool {
        self.phase != Phase::Open || self.alone || !self.held.is_empty()
    }

    /// Nothing is consumed while suspects run, of this queue or of others.
    pub(super) fn waits_for_suspects(&self) -> bool {
        self.open == 0 && (self.others.suspects || self.alone || !self.held.is_empty())
    }

    /// Nothing is consumed, held back or in hand.
    pub(super) fn is_spent(&self) -> bool {
        self.is_closed() && self.in_hand == 0 && self.held.is_empty() && !self.draining
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// A delivery of so many bytes arrived that was given back or lost `count` times; returned if it may be handed
    /// out now. `key` is what a message keeps from worker to worker, and few others share.
    #[must_use]
    pub(super) fn delivered(
        &mut self,
        delivery: T,
        bytes: usize,
        count: u64,
        key: u64,
    ) -> Option<T> {
        self.budget.came(bytes);
        let suspect = count >= SUSPECT;
        if suspect || self.budget.overdrawn() {
            self.begin_with = 0;
            if self.phase == Phase::Open && self.open > 1 {
                self.phase = Phase::Quiescing;
            }
        }
        if suspect {
            self.verdicts = 0;
        } else if !self.alone {
            self.in_hand += 1;
            self.undecided += 1;
            return Some(delivery);
        }
        self.held.push(Held {
            count,
            key,
            delivery,
        });
        None
    }

    /// A period begins: credit is worth what is decided within one. More would be of no use, and to quiesce is to
    /// wait until all of it is filled. From now on so many deliveries are wanted; `former` of those in hand are of
    /// consumers that are no more.
    pub(super) fn period(&mut self, demand: Demand, former: usize) {
        self.verdicts = 0;
        self.former = former;
        self.want(demand);
        let wanted = self.wanted.max(1);
        let may_shrink = self.phase == Phase::Open && !self.alone;
        let too_many = may_shrink && self.open / 2 >= wanted && self.in_hand / 2 >= wanted.into();
        self.surplus = if too_many { self.surplus + 1 } else { 0 };
        if may_shrink && self.open > capped(demand.most).max(1) {
            self.surplus = SURPLUS;
        }
        if self.surplus >= SURPLUS {
            (self.surplus, self.begin_with) = (0, wanted);
            self.phase = Phase::Quiescing;
        }
    }

    /// What is wanted is known better by now than when the period began; true where it is less.
    pub(super) fn want(&mut self, demand: Demand) -> bool {
        let (wanted, before) = (capped(demand.grows_to()), self.wanted);
        self.wanted = wanted;
        self.begin_with = self.begin_with.min(wanted.max(1));
        wanted < before
    }

    /// These of those handed out were settled.
    pub(super) fn settled(&mut self, settled: Settled) {
        self.budget.settled(settled.bytes);
        self.in_hand = self.in_hand.saturating_sub(settled.count);
        self.former = self.former.min(self.in_hand);
        self.undecided = self.undecided.saturating_sub(settled.decided);
        if self.phase == Phase::Open && !self.alone {
            self.verdicts += settled.decided;
        }
        if self.undecided == 0 {
            self.alone = false;
        }
    }

    /// A consumer of this prefetch was added.
    pub(super) fn subscribed(&mut self, prefetch: u16) {
        self.open += prefetch;
        self.verdicts = 0;
        if self.open >= self.begin_with {
            self.begin_with = 0;
        }
    }

    /// The broker cancelled a consumer of this prefetch.
    pub(super) fn lost(&mut self, prefetch: u16) {
        self.open = self.open.saturating_sub(prefetch);
        self.verdicts = 0;
        if self.open == 0 {
            self.former = self.in_hand;
        }
    }

    /// All consumers are cancelled and what they held was delivered.
    pub(super) fn closed(&mut self) {
        self.open = 0;
        self.former = self.in_hand;
        self.phase = Phase::Closed;
        let room = self.most().saturating_sub(capped(self.in_hand));
        self.begin_with = self.begin_with.min(room.max(1));
    }

    /// Cancel all consumers, though nothing is amiss.
    pub(super) fn renew(&mut self) {
        if self.phase == Phase::Open && self.open > 0 {
            self.phase = Phase::Quiescing;
        }
    }

    /// Whether as many are in hand as the broker sends, and more may be asked for should they wait for replies only.
    pub(super) fn is_full(&self) -> bool {
        let open = usize::from(self.open);
        let may = self.phase == Phase::Open && self.open > 0 && self.held.is_empty();
        may && (open..self.most().into()).contains(&self.in_hand)
    }

    /// How many may be in hand.
    fn most(&self) -> u16 {
        self.max.min(self.budget.messages())
    }

    /// Whether all that the broker sends is in hand with its verdict known; `unacked`: how many it waits for of its
    /// present consumers.
    pub(super) fn awaits_replies(&self, unacked: impl FnOnce() -> usize) -> bool {
        self.is_full() && self.undecided == 0 && unacked() >= usize::from(self.open)
    }

    /// Ask for as many anew, as far as they are wanted and may be in hand.
    pub(super) fn replace(&mut self) {
        self.begin_with = self.open;
        self.renew();
    }

    /// Do not, after all; false where something else wants it.
    pub(super) fn stay(&mut self) -> bool {
        let amiss = self.draining || !self.held.is_empty() || self.budget.overdrawn();
        if self.phase == Phase::Quiescing && !amiss {
            self.phase = Phase::Open;
        }
        self.phase == Phase::Open
    }

    /// Take nothing more, ever.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.close_down();
    }

    fn close_down(&mut self) {
        if self.phase == Phase::Open {
            self.phase = if self.open == 0 {
                Phase::Closed
            } else {
                Phase::Quiescing
            };
        }
    }

    /// What is held back, given up.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = T> + use<T> {
        let held = std::mem::take(&mut self.held);
        held.into_iter().map(|held| held.delivery)
    }

    /// Whose turn it is of those held back.
    fn pick(&mut self) -> Option<T> {
        let turns = self.held.iter().map(Held::turn).enumerate();
        let (place, _) = turns.min_by_key(|(_, turn)| *turn)?;
        Some(self.held.remove(place).delivery)
    }

    pub(super) fn next(&mut self) -> Step<T> {
        match self.phase {
            Phase::Quiescing => return Step::Quiesce,
            Phase::Open | Phase::Closed => {}
        }
        if self.undecided == 0
            && self.open <= 1
            && self.others.clear
            && let Some(delivery) = self.pick()
        {
            self.in_hand += 1;
            self.former += usize::from(self.open == 0);
            self.undecided = 1;
            self.alone = true;
            return Step::Hand(delivery);
        }
        let anew = self.undecided == 0 || self.begin_with > 0;
        let room = !self.budget.overdrawn();
        let may = room && self.held.is_empty() && !self.others.suspects && !self.draining;
        if self.phase == Phase::Closed && anew && may {
            self.phase = Phase::Open;
        }
        self.grow()
    }

    fn grow(&self) -> Step<T> {
        if self.phase != Phase::Open || self.alone || !self.held.is_empty() {
            return Step::Wait;
        }
        // One of 1 first: it is the one that may stay to the end of a drain.
        if self.open == 0 {
            return Step::Subscribe(1);
        }
        if self.open < self.begin_with {
            return Step::Subscribe(self.begin_with - self.open);
        }
        let most = self.most().saturating_sub(capped(self.former));
        let most = most.min(self.wanted);
        if self.open < most && self.verdicts >= usize::from(self.open) {
            let more = self.open.saturating_mul(GROWTH - 1);
            return Step::Subscribe(more.min(most - self.open));
        }
        Step::Wait
    }
}

/// More than any prefetch is as good as the most.
fn capped(deliveries: usize) -> u16 {
    u16::try_from(deliveries).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
