//! Whether a requester by direct reply-to still waits.
//!
//! The broker never returns a reply to one that has gone, so nothing after the publish could tell. A passive declare
//! of the reply's name does, before any device time is spent: not found, when the requester's channel has ended.
//!
//! Asked on a connection of its own, made when there is somebody to ask after: RabbitMQ 3.10 closes the one that asks
//! after a process of a node that is not in its cluster (by its source, so do 4.2 and 4.3), and neither consumers nor
//! replies are to suffer from a name that somebody made up.

use crate::broker::connection::{Endpoint, LinkState, connected, supervise};
use crate::broker::consumer::lock;
use crate::broker::properties::short;
use base64::{Engine, engine::general_purpose::STANDARD};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, ErrorKind};
use metrics::Counter;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For so long an answer holds: a requester is asked after once in it, however many requests it has.
const FRESH: Duration = Duration::from_secs(1);
/// So long a request waits to know; then its requester counts as there.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many names are remembered before all are forgotten.
const NAMES: usize = 4096;

pub(super) struct Presence {
    endpoint: Option<Endpoint>,
    stop: CancellationToken,
    link: OnceLock<watch::Receiver<LinkState>>,
    tasks: TaskTracker,
    /// One question at a time: who waited finds what the one before has learnt.
    channel: tokio::sync::Mutex<Option<Channel>>,
    known: Mutex<HashMap<Box<str>, Known>>,
}

#[derive(Clone, Copy)]
struct Known {
    gone: bool,
    at: Instant,
}

impl Presence {
    /// Connects to `endpoint` once there is somebody to ask after, until `stop`; without one nobody is gone.
    pub(super) fn new(endpoint: Option<Endpoint>, stop: CancellationToken) -> Presence {
        Presence {
            endpoint,
            stop,
            link: OnceLock::new(),
            tasks: TaskTracker::new(),
            channel: tokio::sync::Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Whether the requester that `name` was made for has gone; no, where that cannot be told soon.
    pub(super) async fn is_gone(&self, name: &str) -> bool {
        if let Some(gone) = self.known(name) {
            return gone;
        }
        if !names_a_process(name) {
            return false;
        }
        let asking = Box::pin(self.ask(name));
        let gone = tokio::time::timeout(PATIENCE, asking).await;
        gone.unwrap_or_else(|_| self.learn(name, false))
    }

    /// Waits until the connection is closed; call it once it was told to.
    pub(super) async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn ask(&self, name: &str) -> bool {
        let mut slot = self.channel.lock().await;
        if let Some(gone) = self.known(name) {
            return gone;
        }
        // Taken out: one that a question was given up on is not asked again.
        let kept = slot.take().filter(|channel| channel.status().connected());
        let Some(channel) = (match kept {
            Some(channel) => Some(channel),
            None => self.open().await,
        }) else {
            return self.learn(name, false);
        };
        let gone = is_missing(&channel, name).await;
        *slot = Some(channel);
        self.learn(name, gone)
    }

    async fn open(&self) -> Option<Channel> {
        let endpoint = self.endpoint.as_ref()?;
        let state = self.link.get_or_init(|| {
            let (sender, state) = watch::channel(LinkState::default());
            let (endpoint, stop) = (endpoint.clone(), self.stop.clone());
            let reconnects = Counter::noop();
            let link = supervise(endpoint, "inferq ask", sender, stop, reconnects);
            self.tasks.spawn(link);
            state
        });
        if state.borrow().reason.is_some() {
            // Down: nobody waits for it to be back.
            return None;
        }
        let link = connected(&mut state.clone()).await?;
        link.channel().await.ok()
    }

    fn known(&self, name: &str) -> Option<bool> {
        let known = lock(&self.known).get(name).copied()?;
        (known.at.elapsed() < FRESH).then_some(known.gone)
    }

    fn learn(&self, name: &str, gone: bool) -> bool {
        let at = Instant::now();
        let mut known = lock(&self.known);
        if known.len() >= NAMES {
            known.clear();
        }
        known.insert(name.into(), Known { gone, at });
        gone
    }
}

/// Whether the broker says that there is nobody of this name; which closes the channel.
async fn is_missing(channel: &Channel, name: &str) -> bool {
    const NOT_FOUND: u16 = 404;
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(short(name), options, FieldTable::default());
    let Err(error) = declared.await else {
        return false;
    };
    if let ErrorKind::ProtocolError(broker) = error.kind() {
        return broker.get_id() == NOT_FOUND;
    }
    false
}

/// Whether a broker may have made the name: `…reply-to.<process>.<key>`, the process in Base64 of Erlang's external term
/// format.
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
