//! `cargo bench --bench roundtrip`: what of a bare echo worker's rate remains when the worker is
//! inferq, with a package whose model does nothing.
//!
//! A rate alone says more about the machine than about the worker, so the figure is a ratio to a
//! limit measured in the same run, before and after it. The workers are processes of their own:
//! this program starts itself as the echo, and `inferq serve`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::struct_excessive_bools,
    clippy::unwrap_used,
    reason = "a bench may stop where it stands"
)]

mod apart;
mod echo;
mod light;
mod load;
mod memory;
mod mosec;
mod options;
mod package;
mod peers;
mod ratio;
mod replies;
mod report;
mod subject;
mod trial;

#[path = "../common/process.rs"]
mod process;
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
use node::Node;
use options::{EchoSetup, Options, Role};
use replies::ReplySize;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use subject::Subject;
use trial::Site;

/// `{"score":100000.0}`, two headers of names and a `server-timing`: what inferq's replies are expected to be
/// where none has been seen.
const REPLY_SIZE: ReplySize = ReplySize {
    body_bytes: 18,
    header_bytes: 191,
};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roundtrip: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    // One worker thread: more only pass wake-ups around beside lapin's own thread.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match &options.role {
            Some(Role::Echo(role)) => echo::run(role).await,
            // `cargo test --benches` runs this program too.
            None if !options.bench => {
                println!("run by `cargo bench --bench roundtrip`");
                Ok(())
            }
            None => tokio::select! {
                done = bench(options) => done,
                _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            },
        }
    })
}

async fn bench(options: &Options) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let machine = report::machine();
    // Held until the end: the node stops with it.
    if let Some(why) = apart::hindrance().filter(|_| options.apart) {
        println!("no broker apart: {why}");
        return Ok(());
    }
    let (url, _node) = if let Ok(url) = std::env::var("AMQP_URL") {
        (url, None)
    } else {
        let start = if options.apart {
            apart::start
        } else {
            || Ok(Node::start())
        };
        let node = tokio::task::spawn_blocking(start).await??;
        (node.url(), Some(node))
    };
    let repository = package::write(&folder)?;
    let inferq = Subject::Inferq {
        repository: repository.clone(),
    };
    let site = Site {
        url,
        folder,
        machine,
    };
    if options.backlog {
        memory::backlog(&site, &inferq, options.requests.unwrap_or(1_000_000)).await
    } else if options.rss {
        memory(options, &site, &inferq).await
    } else if options.light {
        light::run(options, &site, &inferq).await
    } else if options.peers {
        peers::run(options, &site, &repository).await
    } else {
        ratio::run(options, &site, &inferq).await
    }
}

async fn memory(options: &Options, site: &Site, inferq: &Subject) -> Result<()> {
    let first = options.requests.unwrap_or(100_000);
    let echo = Subject::Echo {
        setup: EchoSetup::likely()[0],
        reply_size: REPLY_SIZE,
    };
    let subject = if options.echo_only { &echo } else { inferq };
    let growth = memory::run(site, subject, first).await?;
    println!(
        "{subject}: {} KiB after {first} requests, {} KiB after {}: × {:.3}",
        growth.after_first.rss_kib, growth.after_all.rss_kib, growth.requests, growth.ratio
    );
    let times = results::Spread::once(growth.ratio);
    let row = results::Row::new(
        (report::MODEL, "ten times as many", &subject.to_string()),
        "RSS ÷ RSS at first",
        times,
    );
    report::write(site, "memory", &[row], &json!(growth))
}
