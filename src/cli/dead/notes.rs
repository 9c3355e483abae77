//! What a dead letter says of itself. Its producer wrote parts of it: nothing of them reaches a terminal raw.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::age;
use crate::broker::{Header, Letter, Properties};

/// Headers that a dead letter has from inferq, and no request.
pub(super) const MARKS: [&str; 8] = [
    "inferq-reason",
    "inferq-stage",
    "inferq-attempts",
    "inferq-worker",
    "inferq-first-at",
    "inferq-died-at",
    "inferq-reply",
    "inferq-headers-dropped",
];

/// A letter in a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notes {
    /// Its message id, or else the beginning of its hash.
    pub(super) id: String,
    /// Our word for why it died, or else the broker's.
    pub(super) reason: Option<String>,
    pub(super) stage: Option<String>,
    pub(super) attempts: Option<i64>,
    /// Unix ms.
    pub(super) died_at: Option<u64>,
    pub(super) worker: Option<String>,
    pub(super) size: usize,
    pub(super) content_type: Option<String>,
}

impl Notes {
    pub(super) fn of(letter: &Letter) -> Notes {
        let properties = &letter.properties;
        let death = properties.deaths().into_iter().next();
        let died_at = number(properties, "inferq-died-at").and_then(|at| u64::try_from(at).ok());
        let time = death
            .as_ref()
            .and_then(|death| death.time?.checked_mul(1_000));
        let by_broker = death.map(|death| {
            (
                plain(&death.reason),
                format!("broker, in {}", plain(&death.queue)),
            )
        });
        let (reason, stage) = by_broker.unzip();
        Notes {
            id: id(letter),
            reason: text(properties, "inferq-reason").or(reason),
            stage: text(properties, "inferq-stage").or(stage),
            attempts: number(properties, "inferq-attempts"),
            died_at: died_at.or(time),
            worker: text(properties, "inferq-worker"),
            size: letter.body.len(),
            content_type: properties.content_type().map(plain),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id, "reason": self.reason, "stage": self.stage, "attempts": self.attempts,
            "died_at": self.died_at.and_then(age::written), "worker": self.worker, "size": self.size,
            "content_type": self.content_type,
        })
    }
}

fn id(letter: &Letter) -> String {
    let properties = &letter.properties;
    if let Some(id) = properties.message_id().filter(|id| !id.is_empty()) {
        return plain(id);
    }
    // What tells letters apart and stays the same however often they are looked at.
    let mut hash = Sha256::new();
    for part in [
        properties.correlation_id(),
        properties.reply_to(),
        properties.content_type(),
    ] {
        hash.update(part.unwrap_or_default());
        hash.update([0]);
    }
    let died_at = number(properties, "inferq-died-at").unwrap_or_default();
    hash.update(died_at.to_be_bytes());
    hash.update(&letter.body);
    let hash = hash.finalize();
    let hex = hash.iter().take(6).map(|byte| format!("{byte:02x}"));
    hex.collect::<Vec<_>>().concat()
}

fn text(properties: &Properties, key: &str) -> Option<String> {
    match properties.header(key)? {
        Header::Text(text) => Some(plain(text)),
        Header::Bytes(_)
        | Header::Int(_)
        | Header::Time(_)
        | Header::Float(_)
        | Header::Bool(_)
        | Header::Other => None,
    }
}

/// A header that is a whole number.
pub(super) fn number(properties: &Properties, key: &str) -> Option<i64> {
    match properties.header(key)? {
        Header::Int(number) => Some(number),
        Header::Text(text) => text.parse().ok(),
        Header::Bytes(_) | Header::Time(_) | Header::Float(_) | Header::Bool(_) | Header::Other => {
            None
        }
    }
}

/// Without what a terminal would act on.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}
