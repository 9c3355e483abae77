//! Whether a requester by direct reply-to still waits.
//!
//! The broker never returns a reply to one that has gone, so nothing after the publish could tell. A passive declare
//! of the reply's name does, before any device time is spent: not found, when the requester's channel has ended. It
//! is asked on the publishing connection: RabbitMQ 3.10 closes the one that asks after a process of a node that never
//! was, as it closes the one that publishes to it, and consumers are not to suffer from a name that somebody made up.

use crate::broker::connection::{Link, LinkState};
use crate::broker::consumer::lock;
use crate::broker::letters::stat;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// For so long an answer holds: a requester is asked after once in it, however many requests it has.
const FRESH: Duration = Duration::from_secs(1);
/// So long a request waits to know; then it counts as waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// So many names are remembered before those that are no longer fresh are forgotten.
const NAMES: usize = 1024;

pub(super) struct Presence {
    state: watch::Receiver<LinkState>,
    known: Mutex<HashMap<Box<str>, Known>>,
    /// One question at a time: who waited finds what the one before has learnt.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy)]
struct Known {
    gone: bool,
    at: Instant,
}

impl Presence {
    pub(super) fn new(state: watch::Receiver<LinkState>) -> Presence {
        Presence {
            state,
            known: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Whether the requester that `name` was made for has gone; no, where that cannot be told soon.
    pub(super) async fn is_gone(&self, name: &str) -> bool {
        if !names_a_process(name) {
            return false;
        }
        if let Some(gone) = self.known(name) {
            return gone;
        }
        let asking = Box::pin(self.ask(name));
        let gone = tokio::time::timeout(PATIENCE, asking).await;
        gone.unwrap_or_else(|_| self.learn(name, false))
    }

    async fn ask(&self, name: &str) -> bool {
        let _turn = self.turn.lock().await;
        if let Some(gone) = self.known(name) {
            return gone;
        }
        let link: Option<Arc<Link>> = self.state.borrow().link.clone();
        let gone = match link {
            Some(link) => matches!(stat(&link, name).await, Ok(None)),
            None => false,
        };
        self.learn(name, gone)
    }

    fn known(&self, name: &str) -> Option<bool> {
        let known = lock(&self.known).get(name).copied()?;
        (known.at.elapsed() < FRESH).then_some(known.gone)
    }

    fn learn(&self, name: &str, gone: bool) -> bool {
        let at = Instant::now();
        let mut known = lock(&self.known);
        if known.len() >= NAMES {
            known.retain(|_, known| known.at.elapsed() < FRESH);
        }
        known.insert(name.into(), Known { gone, at });
        gone
    }
}

/// Whether a broker may have made the name: `…reply-to.<process>.<key>`, the process in Base64 of Erlang's external term
/// format. RabbitMQ 3.10 closes the connection that asks after anything else, with a crash of its own.
fn names_a_process(name: &str) -> bool {
    let process = name.rsplit('.').nth(1).unwrap_or_default();
    let Ok(term) = STANDARD.decode(process) else {
        return false;
    };
    // The version, NEW_PID_EXT or PID_EXT, and the node's name: an atom, its length in two bytes or one.
    let (rest, node) = match *term.as_slice() {
        [131, 88, 100 | 118, high, low, ..] => {
            (12 + 5, usize::from(u16::from_be_bytes([high, low])))
        }
        [131, 103, 100 | 118, high, low, ..] => {
            (9 + 5, usize::from(u16::from_be_bytes([high, low])))
        }
        [131, 88, 115 | 119, length, ..] => (12 + 4, usize::from(length)),
        [131, 103, 115 | 119, length, ..] => (9 + 4, usize::from(length)),
        _ => return false,
    };
    term.len() == rest + node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_broker_may_have_made_is_asked_after() {
        let name = |process: &str| format!("amq.rabbitmq.reply-to.{process}.a2V5");
        let of = |term: &[u8]| name(&STANDARD.encode(term));
        let node = b"reply@12345678";
        let pid = |head: &[u8], tail: usize| of(&[head, node, &vec![0; tail]].concat());
        for made in [
            pid(&[131, 88, 118, 0, 14], 12),
            pid(&[131, 88, 119, 14], 12),
            pid(&[131, 103, 100, 0, 14], 9),
            pid(&[131, 103, 115, 14], 9),
        ] {
            assert!(names_a_process(&made), "{made}");
        }
        for forged in [
            of(b"junk"),
            of(&[131, 100, 0, 1, b'a']),
            of(&[131]),
            of(b""),
            name("not base64"),
            pid(&[131, 88, 118, 0, 14], 11),
            pid(&[131, 88, 118, 255, 255], 12),
            "amq.rabbitmq.reply-to".into(),
            String::new(),
        ] {
            assert!(!names_a_process(&forged), "{forged}");
        }
    }
}
