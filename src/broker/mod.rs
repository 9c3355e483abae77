//! AMQP 0-9-1: connections, topology, consuming, publishing, settling. The only module that knows lapin.
//!
//! [`Broker`] keeps two connections, one that consumes and one that publishes (and a third to ask after requesters by
//! direct reply-to, where there are any): a broker short of memory or
//! disk blocks those that publish, and must not stop deliveries and acknowledgements with them. Both are
//! made again without end.

mod budget;
mod config;
mod connection;
mod consumer;
mod credit;
mod demand;
mod fault;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gather;
mod health;
mod kept;
mod ledger;
mod letters;
mod outbox;
mod outgoing;
mod presence;
mod properties;
mod publisher;
mod receipt;
mod requester;
mod screen;
mod stream;
mod subscription;
mod tls;
pub mod topology;
mod waiter;
mod ward;
mod window;

pub use config::{Config, ConfigFault, TopologyMode};
pub use consumer::{ConsumeOptions, ConsumerHandle, Delivery, Handler, QueueHealth};
pub use demand::{Demand, Usage, Wanted};
pub use fault::{ConnectFault, UrlFault};
pub use health::{Health, LinkHealth};
pub use letters::{Letter, Letters, LettersFault, Ticket};
pub use outgoing::{Outgoing, Texts};
pub(crate) use properties::LOST;
pub use properties::{Death, Header, HeaderValue, Properties};
pub use publisher::{Publication, PublishFault, Publisher};
pub use receipt::Receipt;
pub use requester::{Requester, RequesterFault, Response};
pub use screen::{Blemish, MAX_DEPTH};
pub use topology::{PackageQueues, Topology, TopologyFault};

use crate::broker::connection::{Endpoint, LinkState, connected, supervise};
use crate::broker::consumer::{Shared, Task, lock};
use crate::broker::health::Counts;
use crate::broker::presence::Presence;
use crate::broker::topology::{DEAD, Plan};
use crate::broker::ward::Ward;
use crate::telemetry::metrics::BrokerMetrics;
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long closing waits for what is being published, or acknowledged and then closed.
const CLOSING: Duration = Duration::from_secs(5);
/// The first pause before a broker that refuses dead letters is asked again; doubles up to 30 times this.
const ILL: Duration = Duration::from_secs(1);

/// The broker, as a worker sees it.
pub struct Broker {
    config: Config,
    consuming: watch::Receiver<LinkState>,
    publishing: watch::Receiver<LinkState>,
    publisher: Publisher,
    presence: Presence,
    plan: Arc<Mutex<Plan>>,
    topology_fault: Mutex<Option<TopologyFault>>,
    refused_letters: Counts,
    consumers: Mutex<Vec<Arc<Shared>>>,
    stop_consumers: CancellationToken,
    consumer_tasks: TaskTracker,
    ward: Arc<Ward>,
    stop_publishers: CancellationToken,
    stop_links: CancellationToken,
    publishers: Mutex<Vec<JoinHandle<()>>>,
    links: Mutex<Vec<JoinHandle<()>>>,
}

impl Broker {
    /// Starts connecting and never gives up; must be called within a tokio runtime. With a URL that cannot
    /// be used ([`Config::validate`]) it stays disconnected and says why.
    #[must_use]
    pub fn start(config: Config) -> Broker {
        let (stop_publishers, stop_links) = (CancellationToken::new(), CancellationToken::new());
        let mut links = Vec::new();
        let metrics = BrokerMetrics::new();
        let mut keep = |name, reconnects| {
            let (sender, receiver) = watch::channel(LinkState::default());
            match Endpoint::of(&config) {
                Ok(endpoint) => links.push(tokio::spawn(supervise(
                    endpoint,
                    name,
                    sender,
                    stop_links.clone(),
                    reconnects,
                ))),
                Err(fault) => {
                    sender.send_modify(|state| state.reason = Some(fault.to_string()));
                }
            }
            receiver
        };
        let consuming = keep("inferq consume", metrics.consuming_reconnects);
        let publishing = keep("inferq publish", metrics.publishing_reconnects);
        let (publisher, publishers) = Publisher::start(
            config.publisher_channels,
            config.window,
            &publishing,
            &stop_publishers,
            metrics.published,
        );
        let presence = Presence::new(Endpoint::of(&config).ok(), stop_links.clone());
        Broker {
            config,
            consuming,
            publishing,
            publisher,
            presence,
            plan: Arc::new(Mutex::new(Topology::default().plan())),
            topology_fault: Mutex::default(),
            refused_letters: Counts::default(),
            consumers: Mutex::default(),
            stop_consumers: CancellationToken::new(),
            consumer_tasks: TaskTracker::new(),
            ward: Arc::default(),
            stop_publishers,
            stop_links,
            publishers: Mutex::new(publishers),
            links: Mutex::new(links),
        }
    }

    /// Connects once and closes again: the check at boot.
    ///
    /// # Errors
    /// Why it cannot connect; [`ConnectFault::is_final`] tells whether waiting could help.
    pub async fn connect_once(config: &Config) -> Result<(), ConnectFault> {
        let link = Endpoint::of(config)?.connect("inferq check").await?;
        link.close().await;
        Ok(())
    }

    /// Declares (or in passive mode checks) the topology, waiting for a connection if there is none. Queues
    /// that go missing later are declared again from it.
    ///
    /// # Errors
    /// What is missing or differs, and how to mend it.
    pub async fn establish(&self, topology: &Topology) -> Result<(), TopologyFault> {
        let mode = self.config.topology;
        let end = match mode {
            TopologyMode::Declare => {
                *lock(&self.plan) = topology.plan();
                self.walk(&topology.plan(), mode).await
            }
            TopologyMode::Passive => self.walk(&topology.whole_plan(), mode).await,
        };
        *lock(&self.topology_fault) = end.clone().err();
        end
    }

    /// Establishes the topology again each `period`, and sooner while that fails, without end: somebody may
    /// delete an exchange or a binding, and no consumer would notice. [`Health::topology`] tells of it.
    pub async fn keep(&self, topology: &Topology, period: Duration) {
        let mut pause = period;
        loop {
            tokio::time::sleep(pause).await;
            let before = lock(&self.topology_fault).clone();
            let end = self.establish(topology).await;
            pause = if end.is_ok() { period } else { period / 10 };
            match (end, before) {
                (Err(fault), before) if before.as_ref() != Some(&fault) => {
                    tracing::error!(%fault, "requests may not reach their queue");
                }
                (Ok(()), Some(_)) => tracing::info!("the topology is whole again"),
                (Ok(()) | Err(_), _) => {}
            }
        }
    }

    /// Declares the whole topology, whatever the mode: what workers in passive mode will look for.
    ///
    /// # Errors
    /// What differs or is refused, and how to mend it.
    pub async fn declare(&self, topology: &Topology) -> Result<(), TopologyFault> {
        let plan = topology.whole_plan();
        self.walk(&plan, TopologyMode::Declare).await
    }

    async fn walk(&self, plan: &Plan, mode: TopologyMode) -> Result<(), TopologyFault> {
        loop {
            let Some(link) = connected(&mut self.publishing.clone()).await else {
                return Err(TopologyFault::unreachable("the broker's side is closed"));
            };
            match plan.walk_on(&link, mode).await {
                // the connection failed, not the topology
                Err(_) if !link.alive() => {}
                end => return end,
            }
        }
    }

    /// Publishes with confirms.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Consumes a queue until the handle or the broker is closed, through reconnects and the queue's
    /// deletion.
    pub fn consume(
        &self,
        queue: &str,
        options: ConsumeOptions,
        handler: Handler,
    ) -> ConsumerHandle {
        let task = Task {
            state: self.consuming.clone(),
            plan: Arc::clone(&self.plan),
            mode: self.config.topology,
            options,
            handler,
            ward: Arc::clone(&self.ward),
            stop: self.stop_consumers.child_token(),
        };
        let handle = task.start(queue, &self.consumer_tasks);
        let mut consumers = lock(&self.consumers);
        // Those of consumers that were closed are only held here.
        consumers.retain(|shared| Arc::strong_count(shared) > 1);
        consumers.push(Arc::clone(&handle.shared));
        handle
    }

    /// Puts a message of `queue` among the dead letters of a package and makes their queue if it is the first. While
    /// the broker does not take it (in passive mode also if there is no queue for it) it is tried again, without end,
    /// and [`Health::refused_letters`] counts it.
    ///
    /// # Errors
    /// The broker's side is closed.
    pub async fn dead_letter(
        &self,
        queue: &str,
        package: &str,
        body: Bytes,
        properties: Properties,
    ) -> Result<(), PublishFault> {
        let letter = Publication {
            exchange: DEAD.to_owned(),
            routing_key: package.to_owned(),
            body,
            properties: properties.persistent().into(),
            mandatory: true,
        };
        let (mut counted, mut pause) = (None, ILL);
        loop {
            match self.publish_into(Plan::dead(package), letter.clone()).await {
                Err(_) if self.stop_links.is_cancelled() => return Err(PublishFault::Closed),
                Err(fault @ (PublishFault::Unroutable { .. } | PublishFault::Refused { .. })) => {
                    tracing::error!(queue, %fault, "no dead letters are taken; the request is kept in hand");
                    counted.get_or_insert_with(|| self.refused_letters.one(queue));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ILL * 30);
                }
                end => return end,
            }
        }
    }

    /// Puts a request into the retry queue of so many milliseconds, which brings it back under its routing key; makes
    /// the queue if it has gone.
    ///
    /// # Errors
    /// The broker does not take it (in passive mode also if there is no queue for it), or its side is closed.
    pub async fn retry_after(
        &self,
        ms: u64,
        key: &str,
        body: Bytes,
        properties: Properties,
    ) -> Result<(), PublishFault> {
        let copy = Publication {
            exchange: topology::retry_queue(ms),
            routing_key: key.to_owned(),
            body,
            properties: properties.persistent().into(),
            mandatory: true,
        };
        self.publish_into(Plan::retry(ms), copy).await
    }

    /// Publishes; where nothing takes it, declares the plan and publishes again.
    async fn publish_into(&self, plan: Plan, publication: Publication) -> Result<(), PublishFault> {
        let fault = match self.publisher.publish(publication.clone()).await {
            // refused: there is not even an exchange
            Err(fault @ (PublishFault::Unroutable { .. } | PublishFault::Refused { .. })) => fault,
            end => return end,
        };
        if self.config.topology == TopologyMode::Passive {
            return Err(fault);
        }
        let declared = self.walk(&plan, TopologyMode::Declare).await;
        declared.map_err(|fault| PublishFault::Refused {
            reason: fault.to_string(),
        })?;
        self.publisher.publish(publication).await
    }

    /// Whether the broker takes publications: connected, and not short of memory or disk.
    #[must_use]
    pub fn is_flowing(&self) -> bool {
        self.publishing.borrow().flows()
    }

    /// Waits until it does.
    pub async fn flowing(&self) {
        // Fails only when the broker's side is closed, and then nothing flows any more.
        let _ = self.publishing.clone().wait_for(LinkState::flows).await;
    }

    /// Whether the requester that the broker made this direct reply-to name for has gone. It is asked once a second
    /// at most; where that cannot be told within 500 ms it counts as there.
    pub async fn is_gone(&self, requester: &str) -> bool {
        self.presence.is_gone(requester).await
    }

    /// How it stands.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            consuming: LinkHealth::from(&*self.consuming.borrow()),
            publishing: LinkHealth::from(&*self.publishing.borrow()),
            waiting_publications: self.publisher.waiting(),
            sick_destinations: self.publisher.sick(),
            refused_letters: self.refused_letters.all(),
            topology: lock(&self.topology_fault).as_ref().map(ToString::to_string),
            queues: lock(&self.consumers)
                .iter()
                .filter(|shared| Arc::strong_count(shared) > 1)
                .map(|shared| shared.health())
                .collect(),
        }
    }

    /// Ends consumers, then publishers, then connections. What is unsettled goes back to its queue.
    pub async fn close(&self) {
        self.stop_consumers.cancel();
        self.consumer_tasks.close();
        // What they acknowledged last is to arrive. A broker that is gone has given it to someone else.
        let _ = tokio::time::timeout(3 * CLOSING, self.consumer_tasks.wait()).await;
        self.stop_publishers.cancel();
        let publishers = std::mem::take(&mut *lock(&self.publishers));
        let closed = tokio::time::Instant::now() + CLOSING;
        for mut task in publishers {
            // A broker that takes nothing confirms nothing either.
            if tokio::time::timeout_at(closed, &mut task).await.is_err() {
                task.abort();
            }
        }
        self.publisher.close();
        self.stop_links.cancel();
        let links = std::mem::take(&mut *lock(&self.links));
        for task in links {
            let _ = task.await;
        }
        self.presence.close().await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.publisher.close();
        for stop in [
            &self.stop_consumers,
            &self.stop_publishers,
            &self.stop_links,
        ] {
            stop.cancel();
        }
    }
}
