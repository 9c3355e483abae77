//! The exchanges and queues, as data: declared, checked or exported from the same plan.
//!
//! ```text
//! inferq            direct, alternate-exchange inferq.unknown
//! inferq.unknown    fanout → queue: requests for packages nobody serves
//! inferq.<p>        queue, bound <p>; what the broker gives up on goes to inferq.died
//! inferq.died       fanout → queue
//! inferq.retry.<ms> fanout → queue with that time to live, then back to inferq under the old key
//! inferq.dead       direct → queue inferq.dead.<p>, made at the first dead letter
//! ```
//!
//! All queues are quorum queues. Dead-lettering is at-least-once, which holds only together with
//! `reject-publish` on the source.

mod names;

pub use names::*;

use crate::broker::config::TopologyMode;
use crate::broker::connection::{Link, PATIENCE};
use crate::broker::properties::short;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind, ExchangeKind};
use serde_json::{Value, json};

/// Whose dead letters belong to no package.
const NOBODYS: [&str; 2] = ["unknown", "died"];

/// Deliveries before the broker itself gives a request up: a backstop behind our own count.
const DELIVERY_LIMIT: i64 = 20;
/// Brokers since 4.0 limit deliveries to 20 where nothing is set, and then drop the message.
const UNLIMITED: i64 = 1_000_000_000;

/// A package's queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageQueues {
    /// The package's name.
    pub name: String,
    /// Whether it has a second queue that is served first.
    pub high: bool,
}

/// What a worker needs of the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// The packages it serves.
    pub packages: Vec<PackageQueues>,
    /// The delays after which requests are tried again, in milliseconds.
    pub retry_ms: Vec<u64>,
}

/// Why the topology is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?}: {reason}; {mend}")]
pub struct TopologyFault {
    /// `exchange`, `queue` or `binding of queue`.
    pub what: &'static str,
    /// Its name.
    pub name: String,
    /// The broker's words: what differs, what is missing.
    pub reason: String,
    /// How to mend it.
    pub mend: &'static str,
}

impl TopologyFault {
    pub(super) fn unreachable(reason: impl Into<String>) -> Self {
        TopologyFault {
            what: "topology",
            name: EXCHANGE.to_owned(),
            reason: reason.into(),
            mend: "it is tried again as soon as the broker is back",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Argument {
    Text(String),
    Number(i64),
}

type Arguments = Vec<(&'static str, Argument)>;

#[derive(Clone, Debug, PartialEq)]
struct Exchange {
    name: String,
    kind: &'static str,
    arguments: Arguments,
}

#[derive(Clone, Debug, PartialEq)]
struct Queue {
    name: String,
    arguments: Arguments,
    /// Exchange and key.
    bindings: Vec<(String, String)>,
}

/// A topology spelt out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    exchanges: Vec<Exchange>,
    queues: Vec<Queue>,
}

fn text(value: &str) -> Argument {
    Argument::Text(value.to_owned())
}

fn queue(name: String, mut more: Arguments, bindings: Vec<(String, String)>) -> Queue {
    let mut arguments = vec![("x-queue-type", text("quorum"))];
    arguments.append(&mut more);
    Queue {
        name,
        arguments,
        bindings,
    }
}

/// Dead-letters to `exchange` without loss.
fn dying_to(exchange: &str) -> Arguments {
    vec![
        ("x-dead-letter-exchange", text(exchange)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ]
}

fn limited(mut arguments: Arguments, limit: i64) -> Arguments {
    arguments.push(("x-delivery-limit", Argument::Number(limit)));
    arguments
}

fn exchange(name: &str, kind: &'static str) -> Exchange {
    Exchange {
        name: name.to_owned(),
        kind,
        arguments: Vec::new(),
    }
}

fn dead_queue(package: &str) -> Queue {
    let binding = (DEAD.to_owned(), package.to_owned());
    let arguments = limited(Vec::new(), UNLIMITED);
    queue(dead_queue_of(package), arguments, vec![binding])
}

impl Topology {
    /// Everything but the dead letters' queues.
    pub(super) fn plan(&self) -> Plan {
        let fanout = |name: &str| vec![(name.to_owned(), String::new())];
        let mut requests = exchange(EXCHANGE, "direct");
        requests.arguments = vec![("alternate-exchange", text(UNKNOWN))];
        let mut plan = Plan {
            exchanges: vec![
                exchange(UNKNOWN, "fanout"),
                exchange(DIED, "fanout"),
                exchange(DEAD, "direct"),
                requests,
            ],
            queues: vec![
                queue(
                    DIED.to_owned(),
                    limited(Vec::new(), UNLIMITED),
                    fanout(DIED),
                ),
                queue(
                    UNKNOWN.to_owned(),
                    limited(dying_to(DIED), DELIVERY_LIMIT),
                    fanout(UNKNOWN),
                ),
            ],
        };
        for package in &self.packages {
            let mut add = |name: String, key: String| {
                let arguments = limited(dying_to(DIED), DELIVERY_LIMIT);
                let bindings = vec![(EXCHANGE.to_owned(), key)];
                plan.queues.push(queue(name, arguments, bindings));
            };
            add(queue_of(&package.name), package.name.clone());
            if package.high {
                add(
                    high_queue_of(&package.name),
                    format!("{}{HIGH}", package.name),
                );
            }
        }
        for ms in &self.retry_ms {
            let retry = Plan::retry(*ms);
            plan.exchanges.extend(retry.exchanges);
            plan.queues.extend(retry.queues);
        }
        plan
    }

    /// Everything, dead letters' queues too: where the worker may declare nothing.
    pub(super) fn whole_plan(&self) -> Plan {
        let mut plan = self.plan();
        let dead = self.packages.iter().map(|package| package.name.as_str());
        plan.queues.extend(dead.chain(NOBODYS).map(dead_queue));
        plan
    }

    /// A definitions file for `rabbitmqctl import_definitions`, for the given virtual host.
    #[must_use]
    pub fn export(&self, vhost: &str) -> Value {
        let plan = self.whole_plan();
        let exchanges = plan.exchanges.iter().map(|exchange| {
            json!({
                "name": exchange.name, "vhost": vhost, "type": exchange.kind, "durable": true,
                "auto_delete": false, "internal": false, "arguments": to_json(&exchange.arguments),
            })
        });
        let queues = plan.queues.iter().map(|queue| {
            json!({
                "name": queue.name, "vhost": vhost, "durable": true, "auto_delete": false,
                "arguments": to_json(&queue.arguments),
            })
        });
        let bindings = plan.queues.iter().flat_map(|queue| {
            queue.bindings.iter().map(|(source, key)| {
                json!({
                    "source": source, "vhost": vhost, "destination": queue.name,
                    "destination_type": "queue", "routing_key": key, "arguments": {},
                })
            })
        });
        json!({
            "exchanges": exchanges.collect::<Value>(),
            "queues": queues.collect::<Value>(),
            "bindings": bindings.collect::<Value>(),
        })
    }
}

impl Plan {
    /// The plan of a package's dead letters.
    pub(super) fn dead(package: &str) -> Plan {
        Plan {
            exchanges: vec![exchange(DEAD, "direct")],
            queues: vec![dead_queue(package)],
        }
    }

    /// The plan of one retry queue.
    pub(super) fn retry(ms: u64) -> Plan {
        let name = retry_queue(ms);
        let mut arguments = dying_to(EXCHANGE);
        let ttl = i64::try_from(ms).unwrap_or(i64::MAX);
        arguments.push(("x-message-ttl", Argument::Number(ttl)));
        let bindings = vec![(name.clone(), String::new())];
        Plan {
            exchanges: vec![exchange(&name, "fanout")],
            queues: vec![queue(name, arguments, bindings)],
        }
    }

    /// What one queue needs, dead-lettering included; `None` for a queue of somebody else's.
    pub(super) fn only(&self, name: &str) -> Option<Plan> {
        let queue = self.queues.iter().find(|queue| queue.name == name)?;
        Some(Plan {
            exchanges: self.exchanges.clone(),
            queues: vec![queue.clone()],
        })
    }

    /// Declares all of it; what is there already is left as it is.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), TopologyFault> {
        self.walk(channel, false).await?;
        for queue in &self.queues {
            for (exchange, key) in &queue.bindings {
                channel
                    .queue_bind(
                        short(&queue.name),
                        short(exchange),
                        short(key),
                        QueueBindOptions::default(),
                        FieldTable::default(),
                    )
                    .await
                    .map_err(|error| fault("binding of queue", &queue.name, &error))?;
            }
        }
        Ok(())
    }

    /// Checks that all exchanges and queues are there. Bindings and arguments cannot be asked for.
    pub(super) async fn check(&self, channel: &Channel) -> Result<(), TopologyFault> {
        self.walk(channel, true).await
    }

    /// Declares or checks it, on a channel of its own.
    pub(super) async fn walk_on(
        &self,
        link: &Link,
        mode: TopologyMode,
    ) -> Result<(), TopologyFault> {
        let channel = link.channel().await.map_err(TopologyFault::unreachable)?;
        let walking = async {
            match mode {
                TopologyMode::Declare => self.declare(&channel).await,
                TopologyMode::Passive => self.check(&channel).await,
            }
        };
        let steps = self.exchanges.len() + self.queues.len();
        let patience = PATIENCE.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        let late = |_| Err(TopologyFault::unreachable("no answer in time"));
        let end = tokio::select! {
            end = tokio::time::timeout(patience, walking) => end.unwrap_or_else(late),
            () = link.lost.cancelled() => Err(TopologyFault::unreachable("the connection is gone")),
        };
        if channel.status().connected() {
            let _ = tokio::time::timeout(PATIENCE, channel.close(200, "bye".into())).await;
        }
        end
    }

    async fn walk(&self, channel: &Channel, passive: bool) -> Result<(), TopologyFault> {
        for exchange in &self.exchanges {
            let options = ExchangeDeclareOptions {
                passive,
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            let kind = ExchangeKind::Custom(exchange.kind.to_owned());
            let arguments = to_table(&exchange.arguments);
            channel
                .exchange_declare(short(&exchange.name), kind, options, arguments)
                .await
                .map_err(|error| fault("exchange", &exchange.name, &error))?;
        }
        for queue in &self.queues {
            let options = QueueDeclareOptions {
                passive,
                durable: true,
                ..QueueDeclareOptions::default()
            };
            channel
                .queue_declare(short(&queue.name), options, to_table(&queue.arguments))
                .await
                .map_err(|error| fault("queue", &queue.name, &error))?;
        }
        Ok(())
    }
}

fn fault(what: &'static str, name: &str, error: &lapin::Error) -> TopologyFault {
    let (id, reason) = if let ErrorKind::ProtocolError(error) = error.kind() {
        (error.get_id(), error.get_message().to_string())
    } else {
        (0, error.to_string())
    };
    let mend = match id {
        403 => {
            "grant the user configure permission for it, or set broker.topology = \"passive\" and import what `inferq topology export` prints"
        }
        404 => {
            "import what `inferq topology export` prints with `rabbitmqctl import_definitions`, or set broker.topology = \"declare\""
        }
        406 => {
            "it exists with other arguments: delete it once it is empty so that it is declared anew, or set broker.topology = \"passive\" to use it as it is"
        }
        _ => "it is tried again as soon as the broker is back",
    };
    TopologyFault {
        what,
        name: name.to_owned(),
        reason,
        mend,
    }
}

fn to_table(arguments: &Arguments) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        let value = match value {
            Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Argument::Number(number) => AMQPValue::LongLongInt(*number),
        };
        table.insert((*key).into(), value);
    }
    table
}

fn to_json(arguments: &Arguments) -> Value {
    let entries = arguments.iter().map(|(key, value)| {
        let value = match value {
            Argument::Text(text) => json!(text),
            Argument::Number(number) => json!(number),
        };
        ((*key).to_owned(), value)
    });
    Value::Object(entries.collect())
}

#[cfg(test)]
mod tests;
