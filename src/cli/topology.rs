//! `inferq topology`: make the broker's exchanges and queues, or print them for whoever may.

use std::path::Path;

use anyhow::Context;
use clap::Subcommand;

use super::{Failed, config, runtime};
use crate::{
    broker::{self, Broker, PackageQueues, Topology},
    message::name::valid_package_name,
    repository,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// Packages that get a queue; the repository's when none is named.
    #[arg(long = "package", value_name = "NAME", global = true)]
    packages: Vec<String>,
    /// The broker, as amqp://user:password@host:port/vhost.
    #[arg(long, value_name = "URL", global = true)]
    broker_url: Option<String>,
    /// The folder that holds <name>/<version>/package.toml.
    #[arg(long, value_name = "DIR", global = true)]
    repository: Option<String>,
    /// The virtual host that `export` writes for.
    #[arg(long, value_name = "VHOST", default_value = "/", global = true)]
    vhost: String,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Declare everything on the broker. Needs configure permission; safe to repeat.
    Declare,
    /// Print a definitions file for `rabbitmqctl import_definitions`.
    Export,
}

pub(super) fn run(args: Args, file: Option<&Path>) -> Result<(), Failed> {
    let flags = [
        ("broker.url", args.broker_url),
        ("repository.dir", args.repository),
    ];
    let config = config(file, &flags)?;
    let names = if args.packages.is_empty() {
        names(&config.repository.dir).map_err(Failed::Usage)?
    } else {
        args.packages
    };
    let queues = names
        .into_iter()
        .map(|name| PackageQueues { name, high: false });
    let topology = Topology {
        packages: queues.collect(),
        retry_ms: vec![config.intake.retry_delay_ms],
    };
    match args.what {
        What::Export => {
            let definitions = topology.export(&args.vhost);
            let text = serde_json::to_string_pretty(&definitions);
            println!("{}", text.map_err(|error| Failed::Internal(error.into()))?);
            Ok(())
        }
        What::Declare => runtime()?.block_on(declare(&config.broker, &topology)),
    }
}

async fn declare(config: &broker::Config, topology: &Topology) -> Result<(), Failed> {
    let unavailable = |fault: anyhow::Error| Failed::Unavailable(fault);
    Broker::connect_once(config)
        .await
        .map_err(|fault| unavailable(fault.into()))?;
    let broker = Broker::start(config.clone());
    let established = broker.establish(topology).await;
    broker.close().await;
    established.map_err(|fault| unavailable(fault.into()))?;
    println!(
        "declared the queues of {} packages",
        topology.packages.len()
    );
    Ok(())
}

/// The names of the packages in a repository, by its folders: topology needs no model.
fn names(dir: &Path) -> anyhow::Result<Vec<String>> {
    let found = repository::list(dir).with_context(|| {
        format!(
            "repository {} cannot be read; name packages with --package",
            dir.display()
        )
    })?;
    let folders = found
        .iter()
        .filter_map(|dir| dir.parent()?.file_name()?.to_str().map(str::to_owned));
    let mut names: Vec<_> = folders
        .filter(|name| valid_package_name(name).is_ok())
        .collect();
    names.dedup();
    Ok(names)
}
