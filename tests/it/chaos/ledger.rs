//! What clients and faults enter while the run goes on.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use lapin::message::Delivery;

use super::checker::{Checker, Id, Said};
use crate::faults::{header_number, header_text};

/// How far back answers are remembered by their moment.
const MEMORY: Duration = Duration::from_secs(600);

/// The checker, shared.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    checker: Checker,
    /// When requests were first answered.
    answers: VecDeque<Instant>,
    /// Replies that came, to tell a copy by a worker from the broker's redelivery.
    seen: HashSet<u64>,
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    /// Asks or tells the checker something.
    pub(super) fn checker<T>(&self, with: impl FnOnce(&mut Checker) -> T) -> T {
        with(&mut self.book().checker)
    }

    /// Enters a reply. The broker may deliver it again though it was acked: that is no second reply.
    pub(super) fn reply(&self, delivery: &Delivery) {
        let mut book = self.book();
        let (id, fingerprint, said) = (id_of(delivery), fingerprint(delivery), said(delivery));
        let known = !book.seen.insert(fingerprint);
        if delivery.redelivered && known {
            return;
        }
        if let Said::Outcome(_) = said {
            book.checker.quoted(&id, fingerprint);
        }
        if book.checker.replied(&id, said) {
            let now = Instant::now();
            book.answers.push_back(now);
            while book.answers.front().is_some_and(|at| now - *at > MEMORY) {
                book.answers.pop_front();
            }
        }
    }

    /// Enters a dead letter.
    pub(super) fn dead_letter(&self, letter: &Delivery) {
        let reason = header_text(&letter.properties, "inferq-reason").unwrap_or_default();
        let died_at = header_number(&letter.properties, "inferq-died-at").unwrap_or_default();
        let died_at = u64::try_from(died_at).unwrap_or_default();
        self.checker(|checker| checker.buried(&id_of(letter), &reason, died_at));
    }

    /// Enters a request, or a reply, that goes with its queue.
    pub(super) fn destroyed(&self, message: &Delivery) {
        self.checker(|checker| checker.destroyed(&id_of(message)));
    }

    /// Requests first answered between two moments, per second.
    pub(super) fn rate(&self, from: Instant, to: Instant) -> f64 {
        let book = self.book();
        let within = book.answers.iter().rev().skip_while(|at| **at >= to);
        let count = within.take_while(|at| **at >= from).count();
        count as f64 / (to - from).as_secs_f64()
    }

    /// What is acknowledged and not accounted for.
    pub(super) fn open(&self) -> BTreeSet<Id> {
        self.checker(|checker| checker.open())
    }
}

/// The request's number, which is its correlation id.
fn id_of(delivery: &Delivery) -> String {
    let id = delivery.properties.correlation_id().as_ref();
    id.map(ToString::to_string).unwrap_or_default()
}

fn fingerprint(delivery: &Delivery) -> u64 {
    let mut hasher = DefaultHasher::new();
    let timing = header_text(&delivery.properties, "server-timing");
    (id_of(delivery), timing, &delivery.data).hash(&mut hasher);
    hasher.finish()
}

fn said(delivery: &Delivery) -> Said {
    let kind = delivery.properties.kind().as_ref();
    let body: serde_json::Value = serde_json::from_slice(&delivery.data).unwrap_or_default();
    match (
        kind.map(lapin::types::ShortString::as_str),
        body["code"].as_str(),
    ) {
        (Some("outcome"), _) => Said::Outcome(body["y"].as_u64()),
        (Some("rejection"), Some(code)) => Said::Rejection(code.to_owned()),
        other => Said::Gibberish(format!("{other:?} {body}")),
    }
}
