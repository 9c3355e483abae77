//! `inferq serve`: answer requests until told to stop.

use std::path::Path;

use super::{Failed, block_on, config, device};
use crate::{
    engine::EngineFault,
    predict::DeviceChoice,
    telemetry::logs::init_tracing,
    worker::{self, WorkerFault},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Loads every package of the repository, runs its golden examples, declares its queue, and answers what comes.
A broken package is explained in the log and in /status, and stops no other. SIGTERM drains: nothing more is
taken, what is in hand is answered, the exit code is 0. A second signal stops at once; the broker delivers
again what was in hand. To scale, start more workers on the same broker.

A password on the command line is seen by every user of the machine: give INFERQ__BROKER__URL, or the path of
a file that holds the URL as INFERQ__BROKER__URL_FILE.

Examples:
  inferq serve --repository packages --broker-url amqp://guest:guest@127.0.0.1:5672/%2f
  INFERQ__BROKER__URL_FILE=/run/secrets/broker-url inferq serve --admin-addr 0.0.0.0:9090")]
pub(super) struct Args {
    /// The broker, as amqp://user:password@host:port/vhost [default: guest on 127.0.0.1].
    #[arg(long, value_name = "URL")]
    broker_url: Option<String>,
    /// The folder that holds <name>/<version>/package.toml [default: packages].
    #[arg(long, value_name = "DIR")]
    repository: Option<String>,
    /// Where /livez, /readyz, /metrics and /status listen [default: 127.0.0.1:9090].
    #[arg(long, value_name = "IP:PORT")]
    admin_addr: Option<String>,
}

pub(super) fn run(args: Args, file: Option<&Path>) -> Result<(), Failed> {
    let mut config = config(
        file,
        &[
            ("broker.url", args.broker_url),
            ("repository.dir", args.repository),
            ("admin.addr", args.admin_addr),
        ],
    )?;
    init_tracing(&config.telemetry).map_err(|e| Failed::Usage(e.into()))?;
    let devices = device::settle(&config, |told| tracing::info!("{told}"))?;
    config.runtime.device = DeviceChoice::Only(devices);
    block_on(worker::run(config))?.map_err(|fault| match fault {
        WorkerFault::Engine(EngineFault::Library(_))
        | WorkerFault::Broker(_)
        | WorkerFault::Topology(_) => Failed::Unavailable(fault.into()),
        WorkerFault::Engine(EngineFault::Repository(_) | EngineFault::Appetite(_))
        | WorkerFault::Admin { .. } => Failed::Usage(fault.into()),
        WorkerFault::NoPackage { .. } => Failed::Data(fault.into()),
        WorkerFault::Interrupted | WorkerFault::Hung { .. } | WorkerFault::System(_) => {
            Failed::Internal(fault.into())
        }
    })
}
