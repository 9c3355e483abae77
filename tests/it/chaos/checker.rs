//! What was asked, what came of it, and whether that is what inferq promises: the counters of RabbitMQ's
//! Jepsen test for quorum queues, and some more. Pure: it is told everything.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

/// The number that a request carries and, scored, is answered with.
pub(super) type Id = u64;

/// Rejections that any request may meet while things break.
const FAULTS: [&str; 4] = [
    "model_fault",
    "internal_fault",
    "dependency_fault",
    "overloaded",
];

/// How a request is to end when nothing breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// With its own number.
    Outcome,
    /// With a rejection of this code.
    Rejection(&'static str),
    /// Among the dead letters: no reply can be delivered.
    Undeliverable,
}

/// A request as it was published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) expected: Expected,
    /// It has a deadline, and may be late for it.
    pub(super) hurried: bool,
    /// Its queue was gone when it was published, or may have been.
    pub(super) homeless: bool,
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Said {
    /// An outcome with this number.
    Outcome(Option<Id>),
    /// A rejection with this code.
    Rejection(String),
    /// Neither.
    Gibberish(String),
}

#[derive(Debug)]
struct Entry {
    request: Request,
    acknowledged: bool,
    /// In the order of arrival.
    replies: Vec<Said>,
    /// Outcomes that differ in a byte or in their timings.
    outcomes: BTreeSet<u64>,
    buried: bool,
    destroyed: bool,
    scored: u32,
}

/// A copy of a request among the dead letters.
pub(super) struct DeadLetter {
    pub(super) id: Id,
    pub(super) reason: String,
    /// Unix ms.
    pub(super) died_at: u64,
}

/// What the run has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Counts {
    /// Published, whether or not the broker said so.
    pub(super) attempt: u64,
    /// Confirmed by the broker.
    pub(super) acknowledged: u64,
    /// Acknowledged, and answered with their outcome.
    pub(super) ok: u64,
    /// Acknowledged, and answered with a rejection that is in order.
    pub(super) rejected: u64,
    /// Acknowledged, unanswered, and among the dead letters.
    pub(super) buried: u64,
    /// Acknowledged, and deleted with the queue that held them or their reply.
    pub(super) destroyed: u64,
    /// Acknowledged, and gone.
    pub(super) lost: u64,
    /// Replies to nobody, to somebody else, or that say what they must not.
    pub(super) unexpected: u64,
    /// Replies beyond the first of a request.
    pub(super) duplicated: u64,
    /// Requests with two answers that differ.
    pub(super) conflicting: u64,
    /// Requests with outcomes that differ in a byte, or in their timings, though the store was there to remember.
    pub(super) differing: u64,
    /// Requests that were scored more than once.
    pub(super) scored_twice: u64,
    /// Answered, or among the dead letters, though the broker never confirmed their publish.
    pub(super) recovered: u64,
}

/// The book of a run.
#[derive(Default)]
pub(super) struct Checker {
    entries: Vec<Entry>,
    /// Acknowledged and not accounted for yet.
    open: BTreeSet<Id>,
    /// Nobody remembered their first answer when they were scored again.
    forgotten: BTreeSet<Id>,
    /// Every unexpected reply, in words.
    pub(super) unexpected: Vec<String>,
    /// Dead letters of requests that could be answered.
    pub(super) letters: Vec<DeadLetter>,
    /// Rejections by code.
    pub(super) rejections: BTreeMap<String, u64>,
}

impl Checker {
    /// A request is about to be published; its number.
    pub(super) fn attempted(&mut self, request: Request) -> Id {
        self.entries.push(Entry {
            request,
            acknowledged: false,
            replies: Vec::new(),
            outcomes: BTreeSet::new(),
            buried: false,
            destroyed: false,
            scored: 0,
        });
        self.entries.len() as Id - 1
    }

    /// The broker has confirmed it.
    pub(super) fn acknowledged(&mut self, id: Id) {
        let entry = &mut self.entries[id as usize];
        entry.acknowledged = true;
        if !entry.accounted() {
            self.open.insert(id);
        }
    }

    /// A reply to it came; true for the first.
    pub(super) fn replied(&mut self, to: &str, said: Said) -> bool {
        let Some((id, entry)) = find(&mut self.entries, to) else {
            self.unexpected
                .push(format!("a reply to nobody: {to:?}: {said:?}"));
            return false;
        };
        if !entry.request.allows(id, &said) {
            let request = entry.request;
            self.unexpected.push(format!("{id}, {request:?}: {said:?}"));
            return false;
        }
        if let Said::Rejection(code) = &said {
            *self.rejections.entry(code.clone()).or_default() += 1;
        }
        entry.replies.push(said);
        let first = entry.replies.len() == 1;
        self.open.remove(&id);
        first
    }

    /// That reply is an outcome of these bytes and timings.
    pub(super) fn quoted(&mut self, to: &str, fingerprint: u64) {
        if let Some((_, entry)) = find(&mut self.entries, to) {
            entry.outcomes.insert(fingerprint);
        }
    }

    /// A copy of it lies among the dead letters.
    pub(super) fn buried(&mut self, id: &str, reason: &str, died_at: u64) {
        let Some((id, entry)) = find(&mut self.entries, id) else {
            self.unexpected
                .push(format!("a dead letter of nobody: {id:?}: {reason}"));
            return;
        };
        entry.buried = true;
        let asked_for = entry.request.expected == Expected::Undeliverable;
        self.open.remove(&id);
        if !asked_for {
            self.letters.push(DeadLetter {
                id,
                reason: reason.to_owned(),
                died_at,
            });
        }
    }

    /// It, or a reply to it, was in a queue that was deleted.
    pub(super) fn destroyed(&mut self, id: &str) {
        if let Some((id, entry)) = find(&mut self.entries, id) {
            entry.destroyed = true;
            self.open.remove(&id);
        }
    }

    /// A worker ran it.
    pub(super) fn scored(&mut self, id: &str) {
        if let Some((_, entry)) = find(&mut self.entries, id) {
            entry.scored += 1;
        }
    }

    /// The store was gone between two scorings of it.
    pub(super) fn forgotten(&mut self, id: &str) {
        if let Some((id, _)) = find(&mut self.entries, id) {
            self.forgotten.insert(id);
        }
    }

    /// Acknowledged and not accounted for; those whose reply nobody takes are not waited for.
    pub(super) fn open(&self) -> BTreeSet<Id> {
        let open = self.open.iter().copied();
        open.filter(|id| self.entries[*id as usize].request.expected != Expected::Undeliverable)
            .collect()
    }

    /// Whether one of these is still not accounted for.
    pub(super) fn waits_for(&self, ids: &BTreeSet<Id>) -> bool {
        ids.iter().any(|id| self.open.contains(id))
    }

    /// Whether all that was acknowledged is accounted for.
    pub(super) fn settled(&self) -> bool {
        self.open.is_empty()
    }

    /// Requests that are lost.
    pub(super) fn lost(&self) -> Vec<Id> {
        self.open.iter().copied().collect()
    }

    /// What it has come to.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts {
            attempt: self.entries.len() as u64,
            unexpected: self.unexpected.len() as u64,
            ..Counts::default()
        };
        for (id, entry) in (0..).zip(&self.entries) {
            let replies = &entry.replies;
            counts.duplicated += replies.len().saturating_sub(1) as u64;
            counts.conflicting += u64::from(replies.iter().any(|said| *said != replies[0]));
            counts.differing +=
                u64::from(entry.outcomes.len() > 1 && !self.forgotten.contains(&id));
            counts.scored_twice += u64::from(entry.scored > 1);
            counts.acknowledged += u64::from(entry.acknowledged);
            let answered = !replies.is_empty() || entry.buried;
            counts.recovered += u64::from(!entry.acknowledged && answered);
            if !entry.acknowledged {
                continue;
            }
            let fate = match replies.iter().min() {
                Some(Said::Outcome(_)) => &mut counts.ok,
                Some(_) => &mut counts.rejected,
                None if entry.buried => &mut counts.buried,
                None if entry.destroyed => &mut counts.destroyed,
                None => &mut counts.lost,
            };
            *fate += 1;
        }
        counts
    }
}

impl Entry {
    fn accounted(&self) -> bool {
        !self.replies.is_empty() || self.buried || self.destroyed
    }
}

impl Request {
    fn allows(&self, id: Id, said: &Said) -> bool {
        match said {
            Said::Outcome(number) => self.expected == Expected::Outcome && *number == Some(id),
            Said::Rejection(code) => {
                let code = code.as_str();
                self.expected == Expected::Rejection(code_of(code))
                    || FAULTS.contains(&code)
                    || self.hurried && code == "deadline_exceeded"
                    || self.homeless && code == "unknown_package"
            }
            Said::Gibberish(_) => false,
        }
    }
}

/// A code that a request is made to meet; of any other, a word that no request expects.
fn code_of(code: &str) -> &'static str {
    if code == "unrepresentable" {
        "unrepresentable"
    } else {
        ""
    }
}

fn find<'a>(entries: &'a mut [Entry], id: &str) -> Option<(Id, &'a mut Entry)> {
    let id: Id = id.parse().ok()?;
    Some((id, entries.get_mut(id as usize)?))
}
