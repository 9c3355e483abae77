//! Replies already given, kept in Redis: the same request gets the same bytes, and is scored once.
//!
//! A request that names itself by a `message_id` is claimed before it is scored. Its first reply is kept, and every
//! later one gives way to it, whoever wrote it. Where the store does not answer, everything goes on without it.

mod circuit;
mod config;
mod key;
mod link;
mod stored;

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool_redis::redis::{Script, ScriptInvocation, Value};
use schemars::JsonSchema;
use serde::Serialize;

use crate::message::request::Head;

use key::Key;
use link::Link;
use stored::CLAIM;

pub use config::{Config, ConfigFault};
pub use stored::Stored;

/// The pause before a request that another worker has is looked for again; doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(200);

/// Claims an entry for a lease. Answers with what stands there: 0, nothing, and whether the `message_id` was
/// another request's; 1, a claim, and its milliseconds to live; 2, a reply.
const CLAIMING: &str = r"
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, 1) == 'c' then return {1, redis.call('PTTL', KEYS[1])} end
if held then return {2, held} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local last = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
return {0, (last and last ~= ARGV[3]) and 1 or 0}";

/// Lengthens a claim, where it still stands.
const RENEWING: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0";

/// Keeps a reply, unless there is one: then answers with that.
const SETTLING: &str = r"
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, 1) ~= 'c' then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false";

/// Lets a claim go, where it still stands.
const RELEASING: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Duplicates(Arc<Store>);

struct Store {
    link: Link,
    /// Part of every key: virtual hosts that share a Redis share no requests.
    vhost: String,
    lease: Duration,
    keep: Duration,
    claiming: Script,
    renewing: Script,
    settling: Script,
    releasing: Script,
}

/// How the store stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Health {
    /// Whether it answered last.
    pub answers: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// One delivery's hold on its request in the store.
pub struct Entry {
    store: Duplicates,
    key: Key,
    /// This delivery's claim, told from any other's.
    claim: [u8; 17],
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has it; it is this delivery's to answer.
    Mine {
        /// Whether another request had its `message_id` before.
        reused: bool,
    },
    /// It was answered.
    Done(Stored),
    /// The store does not answer, or another worker has the request and time is up.
    Without,
}

/// Whose reply counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The one that was offered: it is the first, or the store does not answer.
    Offered,
    /// One that was given before.
    Before(Stored),
}

impl Duplicates {
    /// The store that the configuration names, for requests of `vhost`; `None` where it names none, or none that
    /// [`Config::validate`] lets pass. Waits for a first answer, no longer than for any.
    pub async fn open(config: &Config, vhost: &str) -> Option<Duplicates> {
        let link = match Link::new(config.url.as_ref()?, config.timeout()) {
            Ok(link) => link,
            Err(reason) => {
                tracing::error!(reason, "no duplicate store");
                return None;
            }
        };
        link.greet().await;
        Some(Duplicates(Arc::new(Store {
            link,
            vhost: vhost.to_owned(),
            lease: config.lease(),
            keep: config.keep(),
            claiming: Script::new(CLAIMING),
            renewing: Script::new(RENEWING),
            settling: Script::new(SETTLING),
            releasing: Script::new(RELEASING),
        })))
    }

    /// The entry of a request; `None` where it does not name itself.
    #[must_use]
    pub fn entry(&self, routing_key: &str, head: &Head<'_>, body: &[u8]) -> Option<Entry> {
        let key = Key::of(&self.0.vhost, routing_key, head, body)?;
        let mut claim = [CLAIM; 17];
        let [_, token @ ..] = &mut claim;
        *token = rand::random();
        Some(Entry {
            store: self.clone(),
            key,
            claim,
        })
    }

    /// How it stands.
    #[must_use]
    pub fn health(&self) -> Health {
        let (answers, reason) = self.0.link.state();
        Health { answers, reason }
    }
}

impl Entry {
    /// Claims the request. While another worker has it, waits for its reply, for the end of its claim, or
    /// `until` then.
    pub async fn claim(&self, until: Instant) -> Claim {
        let store = &*self.store.0;
        let mut claiming = self.invocation(&store.claiming);
        claiming
            .key(&self.key.id)
            .arg(&self.claim)
            .arg(ms(store.lease))
            .arg(&self.key.digest)
            .arg(ms(store.keep));
        let mut pause = SHORTEST;
        loop {
            let left = match store.link.run(&claiming).await {
                None => return Claim::Without,
                Some((0, Value::Int(reused))) => {
                    return Claim::Mine {
                        reused: reused != 0,
                    };
                }
                Some((1, Value::Int(left))) => Duration::from_millis(left.try_into().unwrap_or(0)),
                Some((2, Value::BulkString(bytes))) => {
                    return self.read(&bytes).map_or(Claim::Without, Claim::Done);
                }
                Some((_, _)) => {
                    store.link.misunderstood();
                    return Claim::Without;
                }
            };
            let now = Instant::now();
            if now >= until {
                return Claim::Without;
            }
            tokio::time::sleep(pause.min(left).min(until - now)).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Does what there is to do for the request, and keeps its claim meanwhile.
    pub async fn hold<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.renew() => match never {},
        }
    }

    async fn renew(&self) -> Infallible {
        let store = &*self.store.0;
        let mut renewing = self.invocation(&store.renewing);
        renewing.arg(&self.claim).arg(ms(store.lease));
        loop {
            tokio::time::sleep(store.lease / 3).await;
            // Where this fails the lease ends, and the request may be scored by another worker as well.
            let _: Option<i64> = store.link.run(&renewing).await;
        }
    }

    /// Keeps the reply, unless one was kept before: that is the one to be sent.
    pub async fn settle(&self, reply: &Stored) -> Settled {
        let store = &*self.store.0;
        let mut settling = self.invocation(&store.settling);
        settling.arg(reply.write()).arg(ms(store.keep));
        let before: Option<Option<Vec<u8>>> = store.link.run(&settling).await;
        let before = before.flatten().and_then(|bytes| self.read(&bytes));
        before.map_or(Settled::Offered, Settled::Before)
    }

    /// Lets the claim go: the request will come back and be scored then.
    pub async fn release(&self) {
        let store = &*self.store.0;
        let mut releasing = self.invocation(&store.releasing);
        releasing.arg(&self.claim);
        // Where this fails the claim ends with its lease.
        let _: Option<i64> = store.link.run(&releasing).await;
    }

    fn invocation<'s>(&self, script: &'s Script) -> ScriptInvocation<'s> {
        script.key(&self.key.entry)
    }

    fn read(&self, bytes: &[u8]) -> Option<Stored> {
        let stored = Stored::read(bytes);
        if stored.is_none() {
            self.store.0.link.misunderstood();
        }
        stored
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
