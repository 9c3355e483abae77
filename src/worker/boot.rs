//! From a configuration to a worker that consumes; every step may take long, and is shown while it does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    batcher::Wants,
    broker::{
        self, Broker, ConnectFault, ConsumeOptions, ConsumerHandle, Demand, PackageQueues,
        Topology, Usage, Wanted, topology,
    },
    config::Config,
    duplicates::Duplicates,
    engine::Engine,
    intake::{Intake, Source},
    repository::Repository,
};

use super::{WorkerFault, health::Board};

/// How long a boot waits for a broker that is not there yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// A worker that consumes.
pub(super) struct Worker {
    pub(super) broker: Arc<Broker>,
    pub(super) topology: Topology,
    pub(super) intake: Arc<Intake>,
    pub(super) consumers: Vec<ConsumerHandle>,
}

/// Loads, connects, declares, and consumes last: until it returns nothing is in hand, so it may be dropped.
pub(super) async fn boot(config: &Config, board: &Arc<Board>) -> Result<Worker, WorkerFault> {
    board.starting("loading packages");
    let engine = open(config, board).await?;
    wait_for_broker(config, board).await?;
    board.starting("making sure of exchanges and queues");
    let broker = Arc::new(Broker::start(config.broker.clone()));
    board.connecting(&broker);
    let topology = topology_of(&engine, config);
    broker.establish(&topology).await?;

    let duplicates = Duplicates::open(&config.duplicates, &config.broker.vhost()?).await;
    board.remembering(duplicates.as_ref());
    let intake = Intake::with_duplicates(
        engine.clone(),
        Arc::clone(&broker),
        config.intake.clone(),
        worker_name(),
        duplicates,
    );
    let consumers = consume(&engine, &broker, &intake, &config.broker);
    board.started();
    let in_hand = usize::from(config.broker.prefetch) * consumers.len();
    let bytes = config
        .broker
        .in_flight_bytes
        .saturating_mul(consumers.len());
    tracing::info!(
        in_hand,
        bytes,
        "the credit keeps what is in hand within so many bytes; the broker may send so many messages of its max_message_size before it shrinks"
    );
    Ok(Worker {
        broker,
        topology,
        intake,
        consumers,
    })
}

/// Loads ONNX Runtime and the packages, and tells about those that are broken.
async fn open(config: &Config, board: &Arc<Board>) -> Result<Engine, WorkerFault> {
    let (dir, runtime) = (config.repository.dir.clone(), config.runtime.clone());
    let appetite = config.appetite.clone();
    let load = move || Engine::over(runtime.open()?, &dir, &appetite);
    let engine = board.load(load).await?;
    let repository = engine.repository();
    for live in repository.live() {
        let (name, version) = (live.package.name(), live.package.version());
        let digest = live.package.digest();
        tracing::info!(
            package = name,
            version,
            %digest,
            device = %live.devices,
            batch = live.max_size(),
            sessions = live.batcher.stats().sessions_alive,
            threads = live.sessions.threads,
            "live"
        );
        for warning in &live.warnings {
            tracing::warn!(package = name, version, warning);
        }
        for (way, why) in &live.tried {
            if let Err(why) = why {
                tracing::info!(package = name, version, %way, why, "sessions that may be faster");
            }
        }
    }
    let placed = config.runtime.devices().unwrap_or_default();
    for name in config
        .appetite
        .packages()
        .into_iter()
        .chain(placed.into_keys())
    {
        if !repository.names().any(|live| live == name) {
            let live = repository.names().collect::<Vec<_>>().join(", ");
            tracing::warn!(
                name,
                live,
                "appetite.weights, latencies_ms or runtime.devices names a package that is not live"
            );
        }
    }
    let refused = faults(repository);
    for fault in &refused {
        tracing::error!(fault, "a package did not go live");
    }
    if repository.names().next().is_none() {
        return Err(WorkerFault::NoPackage {
            faults: refused.join("; "),
        });
    }
    Ok(engine)
}

fn faults(repository: &Repository) -> Vec<String> {
    let each = repository.refused().iter().flat_map(|refused| {
        let dir = refused.dir.display().to_string();
        refused
            .faults
            .iter()
            .map(move |fault| format!("{dir}: {fault}"))
    });
    each.collect()
}

/// Waits a little for a broker that is still starting; not for one that says no.
async fn wait_for_broker(config: &Config, board: &Board) -> Result<(), ConnectFault> {
    board.starting("connecting to the broker");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Broker::connect_once(&config.broker).await {
            Err(fault) if !fault.is_final() && Instant::now() < deadline => {
                tracing::warn!(%fault, "waiting for the broker");
                board.starting(format!("waiting for the broker: {fault}"));
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            end => return end,
        }
    }
}

fn topology_of(engine: &Engine, config: &Config) -> Topology {
    let packages = engine.repository().names();
    let queues = packages.map(|name| PackageQueues {
        name: name.to_owned(),
        high: has_high_queue(engine, name),
    });
    Topology {
        packages: queues.collect(),
        retry_ms: config.intake.retry_queues_ms(),
    }
}

/// What a message without a package is taken to have until some have been seen.
const STRAY_BYTES: usize = 1 << 20;

/// Any version may ask for it: they share the queues.
fn has_high_queue(engine: &Engine, name: &str) -> bool {
    let mut live = engine.repository().live();
    live.any(|live| live.package.name() == name && live.package.manifest().high_queue)
}

fn consume(
    engine: &Engine,
    broker: &Broker,
    intake: &Arc<Intake>,
    config: &broker::Config,
) -> Vec<ConsumerHandle> {
    let options = |source: &Source, expected_bytes| ConsumeOptions {
        prefetch_max: config.prefetch,
        wanted: wanted(engine, source),
        in_flight_bytes: config.in_flight_bytes,
        expected_bytes,
        ..ConsumeOptions::default()
    };
    let mut sources = Vec::new();
    for name in engine.repository().names() {
        let largest = request_bytes(engine, name);
        let mut add = |queue| sources.push((queue, Source::Package(name.into()), largest));
        if has_high_queue(engine, name) {
            add(topology::high_queue_of(name));
        }
        add(topology::queue_of(name));
    }
    sources.push((topology::UNKNOWN.to_owned(), Source::Unknown, STRAY_BYTES));
    sources.push((topology::DIED.to_owned(), Source::Died, STRAY_BYTES));
    let each = sources.into_iter();
    each.map(|(queue, source, largest)| {
        let options = options(&source, largest);
        broker.consume(&queue, options, intake.handler(source))
    })
    .collect()
}

/// So many in hand are a backlog, and half of what is wanted is, but no fewer than the least: those who ask one after the
/// other may have as many under way.
const BACKLOG: usize = 64;
const LEAST: usize = 16;

/// Whether the broker is likely to have more: a quarter of what it may send is in hand, and the rest on its way. A queue
/// that is not consumed is sent nothing.
fn is_filled(Usage { in_hand, open, .. }: Usage, wanted: usize) -> bool {
    let backlog = (wanted / 2).clamp(LEAST, BACKLOG);
    open > 0 && in_hand >= backlog && in_hand >= open / 4
}

/// As many as keep the sessions of a package busy; of what takes no device, as many as come.
fn wanted(engine: &Engine, source: &Source) -> Wanted {
    let Source::Package(name) = source else {
        return Wanted::default();
    };
    let (engine, name) = (engine.clone(), Arc::clone(name));
    let queues = 1 + usize::from(has_high_queue(&engine, &name));
    Wanted::new(move |usage| {
        let live = engine.repository().live();
        let versions = live.filter(|live| live.package.name() == &*name);
        let each: Vec<_> = versions
            .map(|live| {
                let wants = live.batcher.wants(live.rows_each, usage.trip);
                if is_filled(usage, wants.requests) {
                    live.batcher.filled();
                }
                wants
            })
            .collect();
        let wants = Wants::of_each(&each, queues);
        wants.map_or_else(Demand::default, |wants| Demand {
            wanted: wants.beside(usage.in_hand),
            most: wants.most,
        })
    })
}

/// The largest request that any version of a package takes.
fn request_bytes(engine: &Engine, name: &str) -> usize {
    let live = engine.repository().live();
    let versions = live.filter(|live| live.package.name() == name);
    let limits = versions.map(|live| live.package.limits().request_bytes);
    limits.max().unwrap_or(STRAY_BYTES)
}

/// Who this is, in dead letters and logs: host and process.
fn worker_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_backlog_where_much_of_what_may_be_in_hand_is() {
        for (in_hand, open, wanted, filled) in [
            (0, 0, 1000, false),
            (500, 0, 1000, false),
            (4, 4, 4, false),
            (15, 16, 16, false),
            (17, 36, 36, false),
            (18, 36, 36, true),
            (63, 64, 200, false),
            (64, 64, 200, true),
            (249, 1000, 1000, false),
            (250, 1000, 1000, true),
            (1000, 1000, 1000, true),
        ] {
            let usage = Usage {
                in_hand,
                open,
                trip: None,
            };
            assert_eq!(is_filled(usage, wanted), filled, "{usage:?}");
        }
    }
}
