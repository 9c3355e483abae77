//! `cargo bench --bench device`: the engine in a process of its own, no broker, beside ONNX Runtime alone.
//!
//! Each figure is a ratio of two that were measured in turn. The subjects are processes of their own: this program
//! starts itself.

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

mod bare;
mod engine;
mod open;
mod timely;
mod turns;

#[path = "../common/models.rs"]
mod models;
#[path = "../../tests/it/onnx.rs"]
mod onnx;
#[path = "../common/packages.rs"]
mod packages;
#[allow(dead_code, reason = "other benches measure some once")]
#[path = "../common/results.rs"]
mod results;

use anyhow::{Context, Result, ensure};
use bare::Rate;
use clap::{Args, Parser, Subcommand};
use engine::Lengths;
use inferq::Engine;
use open::Neighbours;
use packages::Kind;
use results::{Row, Spread};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use turns::{TURN, Waiting};

/// The worker's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is measured.
const ENGINE: &str = "Engine in process";

/// What the engine makes of a device, as ratios to ONNX Runtime alone. Writes target/bench/results.json.
#[derive(Parser)]
#[command(name = "device")]
struct Options {
    /// Runs of each subject, in turn
    #[arg(long, default_value = "3")]
    rounds: NonZeroUsize,
    /// Seconds of each run of the engine
    #[arg(long, default_value = "8")]
    seconds: u64,
    /// Only these figures
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "mlp,forest,conv,lengths,beside,poisson,overload"
    )]
    only: Vec<String>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Bare(Subject),
    #[command(hide = true)]
    Backlog(Subject),
    #[command(hide = true)]
    BareTexts(Subject),
    #[command(hide = true)]
    Lengths(Subject),
    #[command(hide = true)]
    Beside(Subject),
    #[command(hide = true)]
    Timely(Subject),
}

#[derive(Args)]
struct Subject {
    kind: Kind,
    /// The repository; of ONNX Runtime alone, the model.
    path: PathBuf,
    #[arg(long)]
    seconds: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("device: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    match &options.role {
        None if !options.bench => println!("run by `cargo bench --bench device`"),
        None => bench(options)?,
        Some(Role::Bare(subject)) => {
            let lasts = Duration::from_secs(subject.seconds);
            bare::rows(&library(), &subject.path, subject.kind, lasts)?;
        }
        Some(Role::Backlog(subject)) => subject.with(async |engine, lasts| {
            let batch = engine::most_rows(engine, subject.kind)?;
            turns::take(&batch, |()| {
                let turn = engine::capacity(engine, subject.kind, lasts);
                block_in_place(|| Handle::current().block_on(turn))
            })
        })?,
        Some(Role::BareTexts(subject)) => {
            let texts = subject.kind.objects(subject.kind.variety());
            let lengths = texts.iter().map(packages::length).collect();
            let lasts = Duration::from_secs(subject.seconds);
            bare::texts(&library(), &subject.path, lengths, lasts)?;
        }
        Some(Role::Lengths(subject)) => {
            // Before anything counts.
            inferq::telemetry::recorder::install_recorder()?;
            subject.with(async |engine, lasts| {
                let batch = engine::most_rows(engine, subject.kind)?;
                turns::take(&batch, |()| {
                    let turn = engine::lengths(engine, subject.kind, lasts);
                    block_in_place(|| Handle::current().block_on(turn))
                })
            })?;
        }
        Some(Role::Beside(subject)) => tell(&subject.with(async |engine, lasts| {
            open::beside(engine, subject.kind, Kind::Conv, lasts).await
        })?)?,
        Some(Role::Timely(subject)) => subject.with(async |engine, lasts| {
            let round_trip = timely::round_trip(engine).await?;
            turns::take(&round_trip, |load| {
                let turn = timely::timely(engine, subject.kind, load, lasts);
                block_in_place(|| Handle::current().block_on(turn))
            })
        })?,
    }
    Ok(())
}

impl Subject {
    /// Does `work` with an engine, in a runtime like the worker's.
    fn with<T>(&self, work: impl AsyncFnOnce(&Engine, Duration) -> Result<T>) -> Result<T> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads((cores / 2).max(1))
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let engine = Engine::open(&self.path, Some(&library()))?;
            let refused = engine.repository().refused();
            ensure!(refused.is_empty(), "{refused:?}");
            let done = work(&engine, Duration::from_secs(self.seconds)).await;
            engine.close().await;
            done
        })
    }
}

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/onnxruntime/libonnxruntime.so")
}

fn tell(figures: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(figures)?);
    Ok(())
}

/// What this program tells in a role.
fn ask<T: DeserializeOwned>(
    options: &Options,
    role: &str,
    (kind, path): (Kind, &Path),
) -> Result<T> {
    let seconds = options.seconds.to_string();
    let output = Command::new(std::env::current_exe()?)
        .args([role, kind.name()])
        .arg(path)
        .args(["--seconds", &seconds])
        .env("ORT_DISABLE_TELEMETRY", "1")
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "{role} ended with {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).context("figures")
}

fn bench(options: &Options) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    let machine = results::machine();
    let has = |name: &str| options.only.iter().any(|only| only == name);
    let mut figures = serde_json::Map::new();
    let mut rows = Vec::new();
    for kind in [Kind::Mlp, Kind::Forest, Kind::Conv] {
        if !has(kind.name()) {
            continue;
        }
        let repository = folder.join("device").join(kind.name());
        let model = kind.write(&repository, 1)?;
        let (mut bare, rates) = Waiting::start::<Vec<Rate>>("bare", (kind, &model), TURN)?;
        let (mut engine, batch) = Waiting::start::<usize>("backlog", (kind, &repository), TURN)?;
        let turns = turns::between(&mut engine, &mut bare, turns(options), |rate: &f64| *rate)?;
        told(kind.name(), "÷ bare loop", turns.ratio, (batch, &rates))?;
        let of = (kind.name(), "backlog", ENGINE);
        rows.push(Row::new(of, "÷ bare loop", turns.ratio));
        figures.insert(
            kind.name().to_owned(),
            json!({ "batch": batch, "bare": rates, "turns": turns }),
        );
    }
    if has("lengths") {
        let (told, all) = lengths(options, &folder)?;
        rows.extend(told);
        figures.insert("lengths".to_owned(), all);
    }
    if has("beside") {
        let (told, all) = beside(options, &folder)?;
        rows.extend(told);
        figures.insert("beside".to_owned(), all);
    }
    for (name, load) in [("poisson-90", 0.9), ("overload", 1.5)] {
        let short = name.split('-').next().unwrap_or(name);
        if has(short) {
            let (told, all) = timely::bench(options, &folder, (name, load))?;
            rows.extend(told);
            figures.insert(short.to_owned(), all);
        }
    }
    results::write(&folder, &machine, "device", (&rows, &json!(figures)))
}

/// A light package beside a heavy one.
fn beside(options: &Options, folder: &Path) -> Result<(Vec<Row>, serde_json::Value)> {
    let repository = folder.join("device/beside");
    Kind::Mlp.write(&repository, 1)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Kind::Conv.write(&repository, cores)?;
    let (mut to_bar, mut to_tail) = (Vec::new(), Vec::new());
    let rounds = (0..options.rounds.get()).map(|_| {
        let beside: Neighbours = ask(options, "beside", (Kind::Mlp, &repository))?;
        let bar = beside.heavy_batch_ms + 2.0 * beside.alone_p99_ms;
        println!(
            "beside   light p99 {:.2} ms alone, {:.2} ms beside; heavy batch {:.1} ms (p99 {:.1}); ÷ (batch + 2 × alone): {:.3}; heavy {:.1} rows/s, alone {:.1}",
            beside.alone_p99_ms,
            beside.beside_p99_ms,
            beside.heavy_batch_ms,
            beside.heavy_batch_p99_ms,
            beside.beside_p99_ms / bar,
            beside.heavy_rows_per_s_beside,
            beside.heavy_rows_per_s_alone,
        );
        to_bar.push(beside.beside_p99_ms / bar);
        // Where the machine itself stalls for a batch's time, a batch is not what the median says.
        let tail = beside.heavy_batch_p99_ms + 2.0 * beside.alone_p99_ms;
        to_tail.push(beside.beside_p99_ms / tail);
        Ok(json!(beside))
    });
    let rounds = rounds.collect::<Result<Vec<_>>>()?;
    let of = ("mlp beside conv", "100/s beside a backlog", ENGINE);
    let figures = [
        ("p99 ÷ (heavy batch + 2 × p99 alone)", to_bar),
        ("p99 ÷ (heavy batch's p99 + 2 × p99 alone)", to_tail),
    ];
    let row = |(figure, rounds)| Some(Row::new(of, figure, Spread::of(rounds)?));
    Ok((figures.into_iter().filter_map(row).collect(), rounds.into()))
}

/// Texts of many lengths, against the same sorted by length with all the time in the world.
fn lengths(options: &Options, folder: &Path) -> Result<(Vec<Row>, serde_json::Value)> {
    let kind = Kind::Transformer;
    let repository = folder.join("device").join(kind.name());
    let model = kind.write(&repository, 1)?;
    let (mut bare, rates) = Waiting::start::<Vec<Rate>>("bare-texts", (kind, &model), TURN)?;
    let (mut engine, batch) = Waiting::start::<usize>("lengths", (kind, &repository), TURN)?;
    // Of texts that are the same, over and over.
    let texts = kind.objects(kind.variety());
    let each = texts.iter().map(packages::length).sum::<usize>() as f64 / texts.len() as f64;
    let rate = |one: &Lengths| one.tokens_per_s / each;
    let turns = turns::between(&mut engine, &mut bare, turns(options), rate)?;
    told("lengths", TOKENS, turns.ratio, (batch, &rates))?;
    let of = |figure: fn(&Lengths) -> f64| Spread::of(turns.subject.iter().map(figure));
    let figures = [
        ("padded ÷ real tokens", of(|one| one.padding)),
        (
            "most batches that overtook a row",
            of(|one| one.overtaking.most as f64),
        ),
        (
            "rows that more than 2 batches overtook ÷ all",
            of(|one| one.overtaking.by_more_than_2),
        ),
    ];
    let place = (kind.name(), "backlog", ENGINE);
    let mut rows = vec![Row::new(place, TOKENS, turns.ratio)];
    for (figure, spread) in figures {
        let spread = spread.context("turns")?;
        let Spread { median, min, max } = spread;
        println!("lengths  {figure}: {median:.3} ({min:.3}-{max:.3})");
        rows.push(Row::new(place, figure, spread));
    }
    Ok((
        rows,
        json!({ "batch": batch, "bare": rates, "turns": turns }),
    ))
}

/// Of tokens that texts have, padding not counted.
const TOKENS: &str = "tokens/s ÷ bare loop, sorted";

/// Turns of a few seconds are short.
fn turns(options: &Options) -> usize {
    4 * options.rounds.get()
}

fn told(what: &str, figure: &str, ratio: Spread, (batch, rates): (usize, &[Rate])) -> Result<()> {
    let best = bare::best(rates)?;
    println!(
        "{what:<8} {figure}: {:.3} ({:.3}-{:.3}); batches of up to {batch} rows; ONNX Runtime alone at b = {}, at first {:.1} rows/s",
        ratio.median, ratio.min, ratio.max, best.rows, best.rows_per_s
    );
    Ok(())
}
