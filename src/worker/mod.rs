//! The composition root: boot, supervise, drain in two phases.

mod boot;
mod health;
mod stop;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    broker::{ConnectFault, ConsumerHandle, TopologyFault},
    config::Config,
    engine::EngineFault,
    intake::Intake,
    telemetry::recorder::install_recorder,
};

use boot::{Worker, boot};
use health::Board;
use stop::Stop;

/// How often the topology is declared again: what an operator deletes by mistake is missing for no longer.
const TOPOLOGY_PERIOD: Duration = Duration::from_secs(30);

/// How long a worker that cannot stay may take to publish what it has.
const LEAVING: Duration = Duration::from_secs(5);

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
    /// A run of a model that was stopped and does not end.
    #[error(
        "{package}: a run has been going on for {run:?} and does not end when it is stopped; the broker delivers again what was in hand"
    )]
    Hung {
        /// Whose model.
        package: String,
        /// For how long.
        run: Duration,
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
    let recorder = install_recorder().map_err(|error| WorkerFault::System(error.to_string()))?;
    let addr = config.admin.addr;
    let listener = TcpListener::bind(addr)
        .await
        .map_err(|source| WorkerFault::Admin { addr, source })?;
    let shown = listener
        .local_addr()
        .map_or_else(|_| addr.to_string(), |addr| addr.to_string());
    tracing::info!(admin = shown, "starting");

    let board = Arc::new(Board::new());
    let closed = CancellationToken::new();
    let admin = tokio::spawn(admin::serve(
        listener,
        recorder,
        Arc::clone(&board).probe(),
        closed.clone().cancelled_owned(),
    ));
    let worker = tokio::select! {
        booted = boot(&config, &board) => Some(booted?),
        () = stop.signalled() => None,
    };
    if let Some(worker) = &worker {
        let packages = worker.topology.packages.len();
        tracing::info!(admin = shown, packages, "serving");
        tokio::select! {
            () = stop.signalled() => {}
            () = worker.broker.keep(&worker.topology, TOPOLOGY_PERIOD) => {}
            // The first signal asks for what is under way then.
            fault = board.hung() => return Err(leave(worker, fault, &mut stop, 2).await),
        }
    }
    tracing::info!("draining");
    board.draining();
    let patience = Duration::from_secs(config.intake.drain_timeout_s);
    tokio::select! {
        () = stop.signalled() => return Err(WorkerFault::Interrupted),
        fault = board.hung() => return Err(match &worker {
            Some(worker) => leave(worker, fault, &mut stop, 1).await,
            None => fault,
        }),
        () = async {
            if let Some(worker) = &worker {
                drain(&worker.consumers, &worker.intake, patience).await;
            }
            board.close().await;
        } => {}
    }
    closed.cancel();
    // It has nothing left to do but to end.
    let _ = admin.await;
    tracing::info!("drained");
    Ok(())
}

/// Publishes what it can of a worker of which a thread will never end. Whatever that thread runs comes back with
/// a higher count, and so alone. So many signals end it at once.
async fn leave(worker: &Worker, fault: WorkerFault, stop: &mut Stop, signals: u8) -> WorkerFault {
    tracing::error!(%fault, "leaving");
    worker.intake.blame();
    let leaving = async {
        drain(&worker.consumers, &worker.intake, LEAVING).await;
        worker.broker.close().await;
    };
    let impatient = async {
        for _ in 0..signals {
            stop.signalled().await;
        }
    };
    tokio::select! {
        () = leaving => fault,
        () = impatient => WorkerFault::Interrupted,
    }
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
