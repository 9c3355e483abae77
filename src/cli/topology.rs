//! `inferq topology`: make the broker's exchanges and queues, or print them for whoever may.

use std::{collections::HashSet, path::Path};

use anyhow::{Context, bail};
use clap::Subcommand;

use super::{Failed, block_on, config, output};
use crate::{
    broker::{self, Broker, PackageQueues, Topology},
    message::name::valid_package_name,
    package::Package,
    repository,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A worker declares what it needs itself. Where it must not, somebody with more rights does it once, and workers
run with INFERQ__BROKER__TOPOLOGY=passive. Both ways make the same: exchanges, the packages' queues, the retry
queue, and the queues of what is unknown, died or dead.

Examples:
  inferq topology declare --repository packages --broker-url amqp://admin:secret@127.0.0.1:5672/%2f
  inferq topology export --package fraud --package digits > definitions.json
  rabbitmqctl import_definitions definitions.json")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// Packages that get a queue; the repository's when none is named.
    #[arg(long = "package", value_name = "NAME", value_parser = name, global = true)]
    packages: Vec<String>,
    /// Also make the queues `.high`, served first, where no manifest asks for them.
    #[arg(long, global = true)]
    high: bool,
    /// The broker, as amqp://user:password@host:port/vhost.
    #[arg(long, value_name = "URL", global = true)]
    broker_url: Option<String>,
    /// The folder that holds <name>/<version>/package.toml.
    #[arg(long, value_name = "DIR", global = true)]
    repository: Option<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Declare everything on the broker. Needs configure permission; safe to repeat.
    Declare,
    /// Print a definitions file for `rabbitmqctl import_definitions`.
    Export {
        /// The virtual host to write for; the one of the broker's URL when absent.
        #[arg(long, value_name = "VHOST")]
        vhost: Option<String>,
    },
}

pub(super) fn run(args: Args, file: Option<&Path>) -> Result<(), Failed> {
    let flags = [
        ("broker.url", args.broker_url),
        ("repository.dir", args.repository),
    ];
    let config = config(file, &flags)?;
    let mut names = if args.packages.is_empty() {
        names(&config.repository.dir).map_err(Failed::Usage)?
    } else {
        args.packages
    };
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let queues = names.into_iter().map(|name| PackageQueues {
        high: args.high || asks_for_high(&config.repository.dir, &name),
        name,
    });
    let topology = Topology {
        packages: queues.collect(),
        retry_ms: config.intake.retry_queues_ms(),
    };
    match args.what {
        What::Export { vhost } => {
            let vhost = vhost.map_or_else(|| config.broker.vhost(), Ok);
            let vhost = vhost.map_err(|fault| Failed::Usage(fault.into()))?;
            let text = serde_json::to_string_pretty(&topology.export(&vhost));
            output::line(text.map_err(|error| Failed::Internal(error.into()))?)
        }
        What::Declare => block_on(declare(&config.broker, &topology))?,
    }
}

async fn declare(config: &broker::Config, topology: &Topology) -> Result<(), Failed> {
    Broker::connect_once(config)
        .await
        .map_err(|fault| Failed::Unavailable(fault.into()))?;
    let broker = Broker::start(config.clone());
    let declared = broker.declare(topology).await;
    broker.close().await;
    declared.map_err(|fault| Failed::Unavailable(fault.into()))?;
    let names: Vec<&str> = topology.packages.iter().map(|p| p.name.as_str()).collect();
    output::line(format_args!("declared the queues of {}", names.join(", ")))
}

/// Whether the package's highest version, if there is one here, asks for a second queue.
fn asks_for_high(repository: &Path, name: &str) -> bool {
    let newest = repository::newest(repository, name);
    let files = newest.and_then(|dir| Package::draft(&dir).ok());
    files.is_some_and(|files| files.manifest().high_queue)
}

fn name(text: &str) -> Result<String, String> {
    valid_package_name(text)
        .map(|()| text.to_owned())
        .map_err(|fault| fault.to_string())
}

/// The names of the packages in a repository, by its folders: topology needs no model.
fn names(dir: &Path) -> anyhow::Result<Vec<String>> {
    let found = repository::list(dir).with_context(|| {
        format!(
            "repository {} cannot be read; name packages with --package",
            dir.display()
        )
    })?;
    let mut folders: Vec<&Path> = found.iter().filter_map(|dir| dir.parent()).collect();
    folders.dedup();
    let mut names = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        match valid_package_name(&name) {
            Ok(()) => names.push(name.into_owned()),
            Err(fault) => output::note(format_args!(
                "warning: {}: {fault}; it gets no queue",
                folder.display()
            )),
        }
    }
    if names.is_empty() {
        bail!(
            "repository {}: no package found; expected <name>/<version>/package.toml below it, or name packages with --package",
            dir.display()
        );
    }
    Ok(names)
}
