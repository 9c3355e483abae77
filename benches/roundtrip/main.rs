//! `cargo bench --bench roundtrip`: what of a bare echo worker's rate remains when the worker is
//! inferq, with a package whose model does nothing.
//!
//! A rate alone says more about the machine than about the worker, so the figure is a ratio to a
//! limit measured in the same run, in interleaved pairs. The workers are processes of their own:
//! this program starts itself as the echo, and `inferq serve`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::struct_excessive_bools,
    reason = "a bench may stop where it stands"
)]

mod echo;
mod load;
mod memory;
mod options;
mod package;
mod process;
mod replies;
mod report;
mod subject;
mod trial;
mod wire;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use options::{EchoSetup, Options, Role};
use report::Spread;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use subject::Subject;
use trial::{Figures, Site};

/// `{"score":100000.0}`: what inferq's replies are expected to be, until one has been seen.
const REPLY_BYTES: usize = 18;
/// Enough for a look at what the replies are like.
const GLIMPSE: u64 = 2_000;
/// The shorter runs that the echo's set-up is chosen by.
const CHOICE: u64 = 20_000;

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
    let url = options.amqp_url.clone();
    let url = url.context("AMQP_URL is not set")?;
    let inferq = Subject::Inferq {
        repository: package::write(&folder)?,
    };
    let site = Site { url, folder };
    let machine = report::machine();
    let results = if options.rss {
        memory(options, &site, &inferq).await?
    } else {
        rate(options, &site, &inferq).await?
    };
    report::write(
        &site.folder,
        &json!({ "machine": machine, "results": results }),
    )
}

async fn rate(options: &Options, site: &Site, inferq: &Subject) -> Result<Value> {
    let requests = options.requests.unwrap_or(50_000);
    println!(
        "{requests} requests of {} bytes a run, quorum queues",
        load::body(0).len()
    );
    report::heading();
    let reply_bytes = if options.echo_only {
        REPLY_BYTES
    } else {
        let glimpse = trial::run(site, inferq, GLIMPSE).await?;
        glimpse.reply_bytes
    };
    let choice = choose(options, site, reply_bytes, requests.min(CHOICE)).await?;
    let (setup, _) = *choice
        .iter()
        .max_by(|(_, a), (_, b)| a.round_trips_per_s.total_cmp(&b.round_trips_per_s))
        .context("no set-up of the echo")?;
    let echo = Subject::Echo { setup, reply_bytes };
    let mut pairs = Vec::new();
    for pair in 0..options.pairs {
        pairs.push(measure(options, site, (&echo, inferq), requests, pair).await?);
    }
    let spread = |pick: fn(&(Figures, Option<Figures>)) -> Option<f64>| {
        Spread::of(pairs.iter().filter_map(pick))
    };
    let ratio = spread(|(echo, inferq)| {
        inferq.map(|inferq| inferq.round_trips_per_s / echo.round_trips_per_s)
    });
    let echo_rate = spread(|(echo, _)| Some(echo.round_trips_per_s));
    let inferq_rate = spread(|(_, inferq)| inferq.map(|inferq| inferq.round_trips_per_s));
    for (name, rate) in [("echo", echo_rate), ("inferq", inferq_rate)] {
        if let Some(Spread { median, min, max }) = rate {
            println!("{name}: median {median:.0}/s, {min:.0} to {max:.0}");
        }
    }
    if let Some(Spread { median, min, max }) = ratio {
        println!("inferq ÷ echo: median {median:.3}, {min:.3} to {max:.3}");
        let wanted = options.at_least.unwrap_or(0.0);
        ensure!(median >= wanted, "the median ratio is below {wanted}");
    }
    Ok(json!({
        "requests": requests,
        "echo_setups": choice,
        "echo_setup": setup,
        "pairs": pairs,
        "echo_round_trips_per_s": echo_rate,
        "inferq_round_trips_per_s": inferq_rate,
        "ratio": ratio,
    }))
}

/// Measures the echo's set-ups. Whichever comes out best by luck is measured again in the pairs.
async fn choose(
    options: &Options,
    site: &Site,
    reply_bytes: usize,
    requests: u64,
) -> Result<Vec<(EchoSetup, Figures)>> {
    let setups = if options.sweep {
        EchoSetup::all()
    } else {
        EchoSetup::likely()
    };
    let mut measured = Vec::new();
    for setup in setups {
        let echo = Subject::Echo { setup, reply_bytes };
        let figures = trial::run(site, &echo, requests).await?;
        report::line(&echo.to_string(), &figures);
        measured.push((setup, figures));
    }
    Ok(measured)
}

/// One pair; every other one begins with inferq.
async fn measure(
    options: &Options,
    site: &Site,
    (echo, inferq): (&Subject, &Subject),
    requests: u64,
    pair: usize,
) -> Result<(Figures, Option<Figures>)> {
    let run = async |subject: &Subject| {
        let figures = trial::run(site, subject, requests).await?;
        report::line(&format!("pair {}: {subject}", pair + 1), &figures);
        anyhow::Ok(figures)
    };
    if options.echo_only {
        return Ok((run(echo).await?, None));
    }
    if pair.is_multiple_of(2) {
        let first = run(echo).await?;
        return Ok((first, Some(run(inferq).await?)));
    }
    let first = run(inferq).await?;
    Ok((run(echo).await?, Some(first)))
}

async fn memory(options: &Options, site: &Site, inferq: &Subject) -> Result<Value> {
    let first = options.requests.unwrap_or(100_000);
    let echo = Subject::Echo {
        setup: EchoSetup::likely()[0],
        reply_bytes: REPLY_BYTES,
    };
    let subject = if options.echo_only { &echo } else { inferq };
    let growth = memory::run(site, subject, first).await?;
    println!(
        "{subject}: {} KiB after {first} requests, {} KiB after {}: × {:.3}",
        growth.after_first.rss_kib, growth.after_all.rss_kib, growth.requests, growth.ratio
    );
    Ok(json!({ "memory": growth }))
}
