//! Fault after fault, in shuffled rounds, each until all is well again.

use std::time::{Duration, Instant};

use super::{clients::unix_ms, dice::Dice, fault::Fault, report::Event, site::Site};
use crate::faults::tick;

/// Recovery that takes longer is none.
pub(super) const BOUND: Duration = Duration::from_secs(120);
/// Over this much time the rate is looked at, before and after.
const WINDOW: Duration = Duration::from_secs(1);
/// So much of the rate before is as good as all of it.
const ENOUGH: f64 = 0.8;
/// Whoever reads the log wants to know why recovery takes longer.
const LONG: Duration = Duration::from_secs(6);

fn before(now: Instant) -> Instant {
    now.checked_sub(WINDOW).unwrap()
}

/// Waits for so long, and until requests are answered as fast as they are made.
pub(super) async fn steady(site: &Site, lasts: Duration) {
    let rate = site.rate;
    let start = Instant::now();
    let mut steady = 0.0;
    while start.elapsed() < lasts || steady < ENOUGH * rate {
        let state = || site.crew.state();
        assert!(
            start.elapsed() < BOUND,
            "{steady}/s, not {rate}/s: {}",
            state()
        );
        tick().await;
        let now = Instant::now();
        steady = site.desk.ledger.rate(before(now), now);
    }
}

/// Strikes faults until the time is up.
pub(super) async fn strike_all(
    site: &Site,
    faults: &[Fault],
    dice: &mut Dice,
    until: Instant,
) -> Vec<Event> {
    let (mut events, mut deck) = (Vec::new(), Vec::new());
    while Instant::now() < until {
        if deck.is_empty() {
            deck = faults.to_vec();
            dice.shuffle(&mut deck);
        }
        let fault = deck.pop().unwrap();
        // Draws within a fault move no other's.
        let mut own = dice.fork(events.len() as u64);
        calm(site).await;
        events.push(strike(site, fault, &mut own).await);
    }
    events
}

/// Time without a fault, over which the rate can be told.
async fn calm(site: &Site) {
    steady(site, if site.brief { WINDOW } else { 2 * WINDOW }).await;
}

async fn strike(site: &Site, fault: Fault, dice: &mut Dice) -> Event {
    let (from, from_ms) = (Instant::now(), unix_ms());
    // What is left of a backlog makes it no higher than what is asked.
    let usual = site.desk.ledger.rate(before(from), from).min(site.rate);
    eprintln!("{} at {usual:.0}/s", fault.name());
    let struck = fault.strike(site, dice).await;
    let recovery = recovered(site, struck.end, usual, &fault.name()).await;
    let hit = struck.rest.finish(site).await && struck.hit;
    let took = from.elapsed().as_secs_f64();
    eprintln!(
        "    all is well {:.2} s after its end; {took:.1} s in all",
        recovery.as_secs_f64()
    );
    Event {
        name: fault.name(),
        from_ms,
        to_ms: unix_ms(),
        hit,
        effects: fault.effects(),
        recovery,
    }
}

/// How long it took until all that had been confirmed was answered and the rate was back.
async fn recovered(site: &Site, end: Instant, usual: f64, name: &str) -> Duration {
    let ledger = &site.desk.ledger;
    let open = ledger.open();
    let (mut answered, mut steady, mut told) = (None, None, false);
    loop {
        let now = Instant::now();
        if answered.is_none() && !ledger.checker(|checker| checker.waits_for(&open)) {
            answered = Some(now);
        }
        let from = before(now);
        if steady.is_none() && from >= end && ledger.rate(from, now) >= ENOUGH * usual {
            steady = Some(from);
        }
        if let (Some(answered), Some(steady)) = (answered, steady) {
            return answered.max(steady) - end;
        }
        if now - end > LONG && !told {
            told = true;
            let still = ledger.open().intersection(&open).count();
            let (queues, state) = (site.queues().await, site.crew.state());
            eprintln!(
                "{name} takes long: answered {}, steady {}, open {still}\n{queues}\n{state}",
                answered.is_some(),
                steady.is_some()
            );
        }
        if now - end > BOUND {
            let rate = ledger.rate(from, now);
            let lost = ledger.checker(|checker| checker.lost());
            let open = (lost.len(), lost.iter().take(5).collect::<Vec<_>>());
            let counts = ledger.checker(|checker| checker.counts());
            let (queues, state) = (site.queues().await, site.crew.state());
            panic!(
                "{name}: no recovery, {rate:.0}/s, before {usual:.0}/s, open {open:?}\n\
                 {counts:?}\n{queues}\n{state}"
            );
        }
        tick().await;
    }
}
