//! `inferq serve`: answer requests until told to stop.

use std::path::Path;

use super::{Failed, config, runtime};
use crate::{
    engine::EngineFault,
    telemetry::logs::init_tracing,
    worker::{self, WorkerFault},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The broker, as amqp://user:password@host:port/vhost.
    #[arg(long, value_name = "URL")]
    broker_url: Option<String>,
    /// The folder that holds <name>/<version>/package.toml.
    #[arg(long, value_name = "DIR")]
    repository: Option<String>,
    /// Where /livez, /readyz, /metrics and /status listen.
    #[arg(long, value_name = "HOST:PORT")]
    admin_addr: Option<String>,
}

pub(super) fn run(args: Args, file: Option<&Path>) -> Result<(), Failed> {
    let config = config(
        file,
        &[
            ("broker.url", args.broker_url),
            ("repository.dir", args.repository),
            ("admin.addr", args.admin_addr),
        ],
    )?;
    init_tracing(&config.telemetry).map_err(|e| Failed::Usage(e.into()))?;
    runtime()?
        .block_on(worker::run(config))
        .map_err(|fault| match fault {
            WorkerFault::Engine(EngineFault::Library(_))
            | WorkerFault::Broker(_)
            | WorkerFault::Topology(_) => Failed::Unavailable(fault.into()),
            WorkerFault::Engine(EngineFault::Repository(_)) | WorkerFault::Admin { .. } => {
                Failed::Usage(fault.into())
            }
            WorkerFault::NoPackage { .. } => Failed::Data(fault.into()),
            WorkerFault::Interrupted | WorkerFault::System(_) => Failed::Internal(fault.into()),
        })
}
