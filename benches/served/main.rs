//! `cargo bench --bench served`: `inferq serve` with models of many kinds behind a broker, under many loads.
//!
//! What a model's worker can do is measured first, with a queue that is never empty; all other loads are shares of
//! that. Times count from when a request was due, whether or not it could be sent then. Producers, broker, worker and
//! whoever takes the replies share the machine.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "a bench may stop where it stands"
)]

mod deep;
mod figures;
mod joined;
mod load;
mod producer;
mod requester;
mod shared;

#[path = "../common/models.rs"]
mod models;
#[path = "../../tests/it/onnx.rs"]
mod onnx;
#[allow(dead_code, reason = "other benches ask otherwise")]
#[path = "../common/packages.rs"]
mod packages;
#[allow(dead_code, reason = "other benches ask otherwise")]
#[path = "../common/process.rs"]
mod process;
#[allow(dead_code, reason = "other benches measure some once")]
#[path = "../common/results.rs"]
mod results;
#[path = "../common/wire.rs"]
mod wire;
#[path = "../common/worker.rs"]
mod worker;

#[allow(dead_code, reason = "tests do more with a node")]
#[path = "../../tests/it/node.rs"]
mod node;
#[allow(dead_code, reason = "tests do more with a node")]
#[path = "../../tests/it/raw.rs"]
mod raw;

use anyhow::Result;
use clap::Parser;
use figures::Figures;
use load::Load;
use node::Node;
use packages::Kind;
use requester::Requester;
use results::Row;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use worker::Worker;

/// `inferq serve` with models of many kinds, under many loads. Writes target/bench/results.json.
#[derive(Parser)]
#[command(name = "served")]
struct Options {
    /// Only these models
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "mlp,forest,conv,transformer"
    )]
    models: Vec<Kind>,
    /// Only these loads, after a backlog and a tenth of what it gives, by which they are measured; and two packages at
    /// once, and a worker that joins another
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "poisson-50,poisson-90,bursts,overload,shared,joined"
    )]
    loads: Vec<String>,
    /// Each load is run so often
    #[arg(long, default_value = "3")]
    rounds: usize,
    /// Seconds that a load lasts
    #[arg(long, default_value = "10")]
    seconds: u64,
    /// Whether all this works, and nothing about how fast it is; into target/bench/short
    #[arg(long)]
    short: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Loads that are of more than one package, or worker.
const OTHERS: [&str; 2] = [SHARED, JOINED];
const SHARED: &str = "shared";
const JOINED: &str = "joined";

impl Options {
    fn shortened(self) -> Options {
        Options {
            models: vec![Kind::Mlp],
            loads: ["bursts", "overload"].map(str::to_owned).into(),
            rounds: 1,
            seconds: 1,
            ..self
        }
    }
}

/// Where everything happens.
struct Site {
    url: String,
    folder: PathBuf,
    lasts: Duration,
    /// How long a package is measured, once.
    measure_ms: u64,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.short {
        options = options.shortened();
    } else if !options.bench {
        println!("run by `cargo bench --bench served`");
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("served: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    let all = if options.short {
        all.join("short")
    } else {
        all
    };
    let folder = all.join("served");
    std::fs::create_dir_all(&folder)?;
    let machine = results::machine();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut rows: Vec<Row> = Vec::new();
    runtime.block_on(async {
        // Held until the end: the node stops with it.
        let node = tokio::task::spawn_blocking(Node::start).await?;
        let site = Site {
            url: node.url(),
            folder,
            lasts: Duration::from_secs(options.seconds),
            measure_ms: if options.short { 500 } else { 10_000 },
        };
        let loads = options.loads.iter().map(String::as_str);
        let (others, loads): (Vec<&str>, Vec<&str>) = loads.partition(|load| OTHERS.contains(load));
        Figures::heading();
        let mut keep = |more: Vec<Row>| {
            rows.extend(more);
            // What comes later may fail.
            results::write(&all, &machine, "served", (&rows, &json!({})))
        };
        for kind in &options.models {
            keep(served(&site, *kind, &loads, options.rounds).await?)?;
        }
        if others.contains(&SHARED) {
            keep(shared::run(&site, options.rounds).await?)?;
        }
        if others.contains(&JOINED) {
            // Of a faster model one producer keeps no queue deep for two workers.
            let shares = joined::run(&site, Kind::Conv, options.rounds).await?;
            keep(shares.into_iter().collect())?;
        }
        anyhow::Ok(())
    })
}

/// One model under all loads, and that so often.
async fn served(site: &Site, kind: Kind, loads: &[&str], rounds: usize) -> Result<Vec<Row>> {
    let repository = site.folder.join(kind.name());
    kind.write(&repository, 1)?;
    worker::declare_topology(&site.url, &repository).await?;
    let mut runs: Vec<(String, Figures)> = Vec::new();
    for _ in 0..rounds {
        let mut requester = Requester::open(&site.url, kind).await?;
        let mut worker = start(site, &repository, kind.name())?;
        let pid = worker.pid()?;
        let ran = tokio::select! {
            ran = under_loads(site, &mut requester, pid, (kind, loads)) => ran,
            error = worker.ended() => Err(error),
        };
        worker.stop().await?;
        requester.close().await?;
        runs.extend(ran?);
    }
    Ok(figures::rows(kind.name(), &runs))
}

fn start(site: &Site, repository: &Path, log: &str) -> Result<Worker> {
    let mut command = worker::serve(&site.url, repository);
    // Measured once: what is compared are loads.
    let state = site.folder.join("state");
    std::fs::create_dir_all(&state)?;
    command.env("INFERQ__APPETITE__STATE_DIR", state);
    command.env("INFERQ__APPETITE__MEASURE_MS", site.measure_ms.to_string());
    Worker::start(command, site.folder.join(format!("{log}.log")))
}

async fn under_loads(
    site: &Site,
    requester: &mut Requester,
    pid: u32,
    (kind, loads): (Kind, &[&str]),
) -> Result<Vec<(String, Figures)>> {
    let backlog = requester.backlog(pid, site.lasts).await?;
    let capacity = backlog.per_s;
    backlog.line(kind.name(), "backlog");
    let (name, load) = Load::LIGHT;
    let light = requester
        .offer(pid, load, (capacity, site.lasts, None))
        .await?;
    light.line(kind.name(), name);
    // Five runs of the batches that a backlog makes, or ten times the way to the worker and back.
    let way = Duration::from_secs_f64(light.p50_ms / 1e3).saturating_sub(light.run);
    let patience = (backlog.run * 5).max(way * 10);
    let mut runs = vec![("backlog".to_owned(), backlog), (name.to_owned(), light)];
    for name in loads {
        let load = Load::of(name)?;
        // Bursts are as long as it takes to work them off.
        let patience = (load != Load::Bursts).then_some(patience);
        let offered = requester
            .offer(pid, load, (capacity, site.lasts, patience))
            .await?;
        offered.line(kind.name(), name);
        runs.push(((*name).to_owned(), offered));
    }
    Ok(runs)
}
