//! The composition root: boot, supervise, drain in two phases.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, PackageStatus, RefusedStatus, Status},
    broker::{
        Broker, ConnectFault, ConsumeOptions, ConsumerHandle, Health, PackageQueues, QueueHealth,
        Topology, TopologyFault, topology,
    },
    config::Config,
    duplicates::Duplicates,
    engine::{Engine, EngineFault},
    intake::{Intake, Source},
    repository::{Live, Repository},
    telemetry::metrics::{BrokerMetrics, PackageMetrics, install_recorder},
};

/// How long a boot waits for a broker that is not there yet.
const BOOT_PATIENCE: Duration = Duration::from_secs(10);

/// A delivery this much older than the longest deadline is stuck, not waiting.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Why a worker does not work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerFault {
    /// ONNX Runtime or the repository.
    #[error(transparent)]
    Engine(#[from] EngineFault),
    /// Every package is broken.
    #[error("no package is live: {faults}")]
    NoPackage {
        /// What is wrong with each.
        faults: String,
    },
    /// The broker.
    #[error(transparent)]
    Broker(#[from] ConnectFault),
    /// Exchanges and queues.
    #[error(transparent)]
    Topology(#[from] TopologyFault),
    /// The admin address.
    #[error(
        "admin address {addr} cannot be listened on ({source}); free it, or set admin.addr to another (port 0 takes any)"
    )]
    Admin {
        /// What was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A second signal.
    #[error("stopped at once by a second signal; the broker delivers again what was in hand")]
    Interrupted,
    /// Anything the system refuses.
    #[error("cannot start: {0}")]
    System(String),
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// Everything that keeps a worker from starting; see [`WorkerFault`].
pub async fn run(config: Config) -> Result<(), WorkerFault> {
    let mut stop = Stop::new()?;
    let started = Instant::now();
    let recorder = install_recorder().map_err(|error| WorkerFault::System(error.to_string()))?;
    let addr = config.admin.addr;
    let listener = TcpListener::bind(addr)
        .await
        .map_err(|source| WorkerFault::Admin { addr, source })?;

    let engine = open(&config).await?;
    wait_for_broker(&config).await?;
    let broker = Arc::new(Broker::start(config.broker.clone()));
    broker.establish(&topology(&engine, &config)).await?;

    let duplicates = Duplicates::open(&config.duplicates, &config.broker.vhost()?).await;
    let intake = Intake::with_duplicates(
        engine.clone(),
        Arc::clone(&broker),
        config.intake.clone(),
        worker_name(),
        duplicates.clone(),
    );
    let consumers = consume(&engine, &broker, &intake, config.broker.prefetch);
    let draining = Arc::new(AtomicBool::new(false));
    let closed = CancellationToken::new();
    let probe = probe(&engine, &broker, duplicates, &draining, started);
    let shown = listener
        .local_addr()
        .map_or_else(|_| addr.to_string(), |addr| addr.to_string());
    let admin = tokio::spawn(admin::serve(
        listener,
        recorder,
        probe,
        closed.clone().cancelled_owned(),
    ));
    let in_hand = usize::from(config.broker.prefetch) * consumers.len();
    tracing::info!(
        in_hand,
        "memory is bounded by so many messages × the broker's max_message_size"
    );
    tracing::info!(
        admin = shown,
        packages = engine.repository().names().count(),
        "serving"
    );

    stop.signalled().await;
    tracing::info!("draining");
    draining.store(true, Ordering::Relaxed);
    let patience = Duration::from_secs(config.intake.drain_timeout_s);
    tokio::select! {
        () = stop.signalled() => return Err(WorkerFault::Interrupted),
        () = drain(&consumers, &intake, patience) => {}
    }
    broker.close().await;
    engine.close().await;
    closed.cancel();
    // It has nothing left to do but to end.
    let _ = admin.await;
    tracing::info!("drained");
    Ok(())
}

/// Phase one: take nothing more. Phase two: finish what is in hand; what is left then goes back.
async fn drain(consumers: &[ConsumerHandle], intake: &Intake, patience: Duration) {
    let deadline = tokio::time::Instant::now() + patience;
    let stopped = join_all(consumers.iter().map(ConsumerHandle::drain));
    if tokio::time::timeout_at(deadline, stopped).await.is_err() {
        tracing::warn!("the broker did not let go of all consumers in time");
    }
    let left = intake
        .finish(deadline.saturating_duration_since(tokio::time::Instant::now()))
        .await;
    if left > 0 {
        tracing::warn!(left, "giving back what was not finished in time");
    }
}

/// Loads ONNX Runtime and the packages, and tells about those that are broken.
async fn open(config: &Config) -> Result<Engine, WorkerFault> {
    let (dir, library) = (
        config.repository.dir.clone(),
        config.runtime.library.clone(),
    );
    let opening = move || Engine::open(&dir, library.as_deref());
    let engine = tokio::task::spawn_blocking(opening)
        .await
        .map_err(|error| WorkerFault::System(error.to_string()))??;
    let repository = engine.repository();
    for live in repository.live() {
        let (name, version) = (live.package.name(), live.package.version());
        tracing::info!(package = name, version, digest = %live.package.digest(), "live");
        for warning in &live.warnings {
            tracing::warn!(package = name, version, warning);
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
async fn wait_for_broker(config: &Config) -> Result<(), ConnectFault> {
    let deadline = Instant::now() + BOOT_PATIENCE;
    loop {
        match Broker::connect_once(&config.broker).await {
            Err(fault) if !fault.is_final() && Instant::now() < deadline => {
                tracing::warn!(%fault, "waiting for the broker");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            end => return end,
        }
    }
}

fn topology(engine: &Engine, config: &Config) -> Topology {
    let packages = engine.repository().names();
    let queues = packages.map(|name| PackageQueues {
        name: name.to_owned(),
        high: false,
    });
    Topology {
        packages: queues.collect(),
        retry_ms: config.intake.retry_queues_ms(),
    }
}

fn consume(
    engine: &Engine,
    broker: &Broker,
    intake: &Arc<Intake>,
    prefetch: u16,
) -> Vec<ConsumerHandle> {
    let options = ConsumeOptions {
        prefetch_max: prefetch,
    };
    let packages = engine.repository().names().map(Arc::<str>::from);
    let mut sources: Vec<(String, Source)> = packages
        .map(|name| (topology::queue_of(&name), Source::Package(name)))
        .collect();
    sources.push((topology::UNKNOWN.to_owned(), Source::Unknown));
    sources.push((topology::DIED.to_owned(), Source::Died));
    let each = sources.into_iter();
    each.map(|(queue, source)| broker.consume(&queue, options.clone(), intake.handler(source)))
        .collect()
}

/// How the worker stands; brings gauges up to date as well.
fn probe(
    engine: &Engine,
    broker: &Arc<Broker>,
    duplicates: Option<Duplicates>,
    draining: &Arc<AtomicBool>,
    started: Instant,
) -> admin::Probe {
    let (engine, broker, draining) = (engine.clone(), Arc::clone(broker), Arc::clone(draining));
    let refused = engine
        .repository()
        .refused()
        .iter()
        .map(|refused| RefusedStatus {
            dir: refused.dir.display().to_string(),
            faults: refused.faults.iter().map(ToString::to_string).collect(),
        });
    let refused: Vec<_> = refused.collect();
    let live = engine.repository().live();
    let longest = live
        .map(|live| live.package.limits().deadline)
        .max()
        .unwrap_or_default();
    let stuck_after = STUCK_AFTER + longest;
    Arc::new(move || {
        let health = broker.health();
        for queue in &health.queues {
            let name = queue.queue.strip_prefix("inferq.").unwrap_or(&queue.queue);
            let oldest = Duration::from_secs_f64(queue.oldest_unsettled_s.unwrap_or_default());
            PackageMetrics::new(name).oldest_unsettled(oldest);
        }
        let links = BrokerMetrics::new();
        links
            .consuming_reconnects
            .absolute(health.consuming.reconnects);
        links
            .publishing_reconnects
            .absolute(health.publishing.reconnects);
        let packages: Vec<_> = engine
            .repository()
            .live()
            .map(|live| package_status(live))
            .collect();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            onnx_runtime: engine.repository().library().version().to_owned(),
            uptime_s: started.elapsed().as_secs_f64(),
            not_ready: not_ready(&health, draining.load(Ordering::Relaxed)),
            not_live: not_live(&health, &packages, stuck_after),
            broker: health,
            duplicates: duplicates.as_ref().map(Duplicates::health),
            packages,
            refused: refused.clone(),
        }
    })
}

fn package_status(live: &Live) -> PackageStatus {
    let stats = live.batcher.stats();
    PackageStatus {
        name: live.package.name().to_owned(),
        version: live.package.version().to_owned(),
        digest: live.package.digest().to_string(),
        warnings: live.warnings.clone(),
        sessions: stats.sessions_alive,
        waiting_rows: stats.waiting_rows,
        running_batches: stats.running_batches,
    }
}

/// Why no requests are taken.
fn not_ready(health: &Health, draining: bool) -> Option<String> {
    if draining {
        return Some("draining: no new requests are taken".to_owned());
    }
    for (name, link) in [
        ("consuming", &health.consuming),
        ("publishing", &health.publishing),
    ] {
        if !link.connected {
            let reason = link.reason.as_deref().unwrap_or("connecting");
            return Some(format!(
                "the {name} connection to the broker is down: {reason}"
            ));
        }
    }
    if let Some(reason) = &health.publishing.blocked {
        return Some(format!("the broker takes no publications: {reason}"));
    }
    let idle = health.queues.iter().find(|queue| !queue.subscribed)?;
    let reason = idle.reason.as_deref().unwrap_or("subscribing");
    Some(format!("queue {} is not consumed: {reason}", idle.queue))
}

/// Why the process should be replaced: work that should flow does not, and the broker is not the reason.
fn not_live(health: &Health, packages: &[PackageStatus], stuck_after: Duration) -> Option<String> {
    if let Some(dead) = packages.iter().find(|package| package.sessions == 0) {
        return Some(format!(
            "{}@{} has no session left",
            dead.name, dead.version
        ));
    }
    if !health.publishing.connected || health.publishing.blocked.is_some() {
        return None;
    }
    let oldest = |queue: &QueueHealth| queue.oldest_unsettled_s.unwrap_or_default();
    let stuck = health
        .queues
        .iter()
        .find(|queue| oldest(queue) > stuck_after.as_secs_f64())?;
    Some(format!(
        "a delivery of queue {} has been in hand for {:.0} s",
        stuck.queue,
        oldest(stuck)
    ))
}

/// Who this is, in dead letters and logs: host and process.
fn worker_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Stop, WorkerFault> {
        let listen = |kind| signal(kind).map_err(|error| WorkerFault::System(error.to_string()));
        Ok(Stop {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn signalled(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
