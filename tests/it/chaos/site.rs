//! Where a run takes place: nodes, proxies, workers, clients.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::task::{JoinHandle, JoinSet};

use super::{
    clients::{Desk, collect, declare_full, mourn, produce},
    crew::Crew,
    dice::Dice,
    ledger::Ledger,
    proxy::Proxy,
};
use crate::{
    faults::{declare_replies, tick},
    node::Node,
    redis::Redis,
};

const WORKERS: u64 = 3;
const PRODUCERS: u64 = 2;

/// Nodes, proxies, workers, clients.
pub(super) struct Site {
    pub(super) nodes: Vec<Arc<Node>>,
    /// One in front of the broker for each worker.
    pub(super) proxies: Vec<Proxy>,
    pub(super) crew: Arc<Crew>,
    /// Replies already given.
    store: Arc<Mutex<Redis>>,
    pub(super) desk: Arc<Desk>,
    /// Requests a second.
    pub(super) rate: f64,
    /// Whether faults are to be short.
    pub(super) brief: bool,
    /// Clients reach whichever node is up.
    _front: Proxy,
    tending: JoinHandle<()>,
    consumers: JoinSet<()>,
    producers: JoinSet<()>,
}

impl Site {
    pub(super) async fn start(
        nodes: Vec<Arc<Node>>,
        places: (&Path, &Path),
        ledger: Arc<Ledger>,
        (rate, brief): (f64, bool),
        dice: &Dice,
    ) -> Site {
        let ports = Arc::new(Mutex::new(nodes.iter().map(|node| node.port()).collect()));
        let front = Proxy::start(Arc::clone(&ports), dice.fork(100)).await;
        let mut proxies = Vec::new();
        for number in 0..WORKERS {
            let dice = dice.fork(200 + number);
            proxies.push(Proxy::start(Arc::clone(&ports), dice).await);
        }
        let urls = proxies.iter().map(Proxy::url).collect();
        let store = tokio::task::spawn_blocking(Redis::start).await.unwrap();
        let crew = Arc::new(Crew::start(urls, store.url(), places));
        crew.ready().await;
        let desk = Desk::new(front.url(), ledger, rate / PRODUCERS as f64);
        // What is answered before they are there would be undeliverable.
        let (_connection, channel) = crate::faults::connect(&desk.url).await.unwrap();
        declare_replies(&channel).await.unwrap();
        declare_full(&channel).await.unwrap();
        let mut consumers = JoinSet::new();
        consumers.spawn(collect(Arc::clone(&desk)));
        for name in ["labour", "unknown", "died"] {
            consumers.spawn(mourn(Arc::clone(&desk), name));
        }
        let mut producers = JoinSet::new();
        for number in 0..PRODUCERS {
            producers.spawn(produce(Arc::clone(&desk), dice.fork(number)));
        }
        let tended = Arc::clone(&crew);
        let tending = tokio::spawn(async move {
            loop {
                tended.tend();
                tick().await;
            }
        });
        Site {
            nodes,
            proxies,
            crew,
            store: Arc::new(Mutex::new(store)),
            desk,
            rate,
            brief,
            _front: front,
            tending,
            consumers,
            producers,
        }
    }

    /// Does something to a node that takes its time.
    pub(super) async fn on_node<T: Send + 'static>(
        &self,
        number: usize,
        act: impl FnOnce(&Node) -> T + Send + 'static,
    ) -> T {
        let node = Arc::clone(&self.nodes[number]);
        tokio::task::spawn_blocking(move || act(&node))
            .await
            .unwrap()
    }

    /// Does something to the store that takes its time.
    pub(super) async fn on_store(&self, act: impl FnOnce(&mut Redis) + Send + 'static) {
        let store = Arc::clone(&self.store);
        let acting = tokio::task::spawn_blocking(move || act(&mut store.lock().unwrap()));
        acting.await.unwrap();
    }

    /// `rabbitmqctl` on the first node.
    pub(super) async fn ctl(&self, args: &[&str]) -> String {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let act = move |node: &Node| {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            node.ctl(&args)
        };
        self.on_node(0, act).await
    }

    /// How queues stand, as a node says that is up.
    pub(super) async fn queues(&self) -> String {
        for number in 0..self.nodes.len() {
            let look = |node: &Node| {
                // What a queue has handed out, and what of it a channel knows of, need not agree.
                let tables = [
                    "list_queues name state leader online messages_ready messages_unacknowledged consumers",
                    "list_channels connection number consumer_count messages_unacknowledged",
                    "list_consumers",
                ];
                let table = |words: &&str| node.ctl(&words.split(' ').collect::<Vec<_>>());
                node.is_up()
                    .then(|| tables.iter().map(table).collect::<Vec<_>>().join("\n"))
            };
            if let Some(table) = self.on_node(number, look).await {
                return table;
            }
        }
        "no node is up".into()
    }

    /// Ends the producers; what they have published is still answered.
    pub(super) async fn stop_producers(&mut self) {
        self.desk.produced.cancel();
        while let Some(end) = self.producers.join_next().await {
            end.unwrap();
        }
    }

    /// Ends everything else.
    pub(super) async fn stop(mut self) {
        self.desk.over.cancel();
        while let Some(end) = self.consumers.join_next().await {
            end.unwrap();
        }
        self.tending.abort();
    }
}
