//! `make bench-cuda`: what the engine makes of an NVIDIA GPU, beside ONNX Runtime alone. No broker, no network.
//!
//! One program over a folder of models (`models.py` makes them) and a library: it prints a table, and writes all figures
//! where it is told to. Whatever is compared was measured in turn, in the same minute. Tensors of the host are run by
//! a process of its own, which is this program again: a process holds one ONNX Runtime.

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
    clippy::unused_self,
    clippy::wildcard_enum_match_arm,
    reason = "a bench may stop where it stands"
)]

mod cycles;
mod engine;
mod host;
mod rows;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Parser, Subcommand};
use inferq::{
    predict::{Bare, DeviceId, Library, Session, SessionSpec, SessionThread},
    tensor::{Row, Values},
};
use rows::Kind;
use serde_json::{Value, json};

/// The worker's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often engine and bare loop take turns.
const TURNS: usize = 7;

#[derive(Parser)]
#[command(name = "cuda")]
struct Options {
    /// The folder of the models
    #[arg(long, default_value = "target/bench/cuda/models")]
    models: PathBuf,
    /// ONNX Runtime, its CUDA build
    #[arg(long)]
    library: Option<PathBuf>,
    #[arg(long, default_value = "cuda:0")]
    device: String,
    /// Only these models, and `error`, `cycles`
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "resnet50_fp16,resnet50_fp32,bert_fp16,mlp,error,cycles"
    )]
    only: Vec<String>,
    /// Milliseconds of each run
    #[arg(long, default_value = "1500")]
    ms: u64,
    /// Where all figures go
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Host { model: String, sizes: Vec<usize> },
}

struct Bench {
    library: Library,
    file: PathBuf,
    models: PathBuf,
    device: DeviceId,
    lasts: Duration,
}

/// Of one size.
struct Limit {
    rows: usize,
    /// A batch each.
    bare: Bare,
    host: Option<f64>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cuda: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let file = options
        .library
        .clone()
        .or_else(|| std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from));
    let file = file.context("no library: give --library, or set ORT_DYLIB_PATH")?;
    let device: DeviceId = options
        .device
        .parse()
        .map_err(|why| anyhow!("--device {}: {why}", options.device))?;
    let DeviceId::Cuda(ordinal) = device else {
        bail!("--device {device}: this is a bench of GPUs; give cuda:N");
    };
    let lasts = Duration::from_millis(options.ms);
    if let Some(Role::Host { model, sizes }) = &options.role {
        let path = options.models.join(format!("{model}.onnx"));
        let timed = host::sizes(&file, &path, (Kind::of(model)?, ordinal), sizes, lasts)?;
        println!("{}", serde_json::to_string(&timed)?);
        return Ok(());
    }
    let bench = Bench {
        library: Library::open(Some(&file))?,
        file,
        models: options.models.clone(),
        device,
        lasts,
    };
    let mut figures = serde_json::Map::new();
    for what in &options.only {
        let told = match what.as_str() {
            "error" => bench.error(),
            "cycles" => cycles::run(&bench),
            model => bench.model(model),
        };
        match told {
            Ok(told) => {
                figures.insert(what.clone(), told);
            }
            Err(fault) => {
                println!("{what}: {fault:#}");
                figures.insert(what.clone(), json!({ "fault": format!("{fault:#}") }));
            }
        }
        if let Some(json) = &options.json {
            std::fs::write(json, serde_json::to_vec_pretty(&figures)?)?;
        }
    }
    let failed = figures.values().any(|told| told.get("fault").is_some());
    ensure!(!failed, "not all was measured");
    Ok(())
}

impl Bench {
    fn spec(&self, model: &str, device: DeviceId, max_size: usize) -> SessionSpec {
        SessionSpec {
            model: self.models.join(format!("{model}.onnx")),
            threads: 1,
            max_size,
            run_memory: None,
            longest: Kind::of(model).ok().and_then(Kind::longest),
            device,
            outputs: Vec::new(),
        }
    }

    fn thread(&self, model: &str, max_size: usize) -> Result<SessionThread> {
        Ok(SessionThread::spawn(
            &self.library,
            model,
            self.spec(model, self.device, max_size),
        )?)
    }

    /// Batches of so many rows, as long as can be, one behind the other.
    fn bare(&self, session: &SessionThread, kind: Kind, rows: usize) -> Result<Bare> {
        let lasts = self.lasts;
        session.call(move |session: &mut Session| -> Result<Bare> {
            let layout = session
                .signature()
                .layout(kind.longest())
                .map_err(|_| anyhow!("open axes"))?;
            let all = kind.rows(&layout, rows, kind.longest().unwrap_or(0));
            let all: Vec<&Row> = all.iter().collect();
            let mut bare = |times| {
                session
                    .bare(&all, times)
                    .context("it runs from the host")?
                    .map_err(anyhow::Error::from)
            };
            bare(3)?; // a new shape is slow the first time
            let once = bare(3)?.run;
            let times =
                (lasts.as_secs_f64() / 3.0 / once.as_secs_f64().max(1e-6)).clamp(4.0, 5_000.0);
            bare(times as u32)
        })?
    }

    /// The limits at each size.
    fn limits(&self, model: &str, kind: Kind) -> Result<Vec<Limit>> {
        let sizes = kind.sizes();
        let most = sizes.iter().copied().max().unwrap_or(1);
        let session = self.thread(model, most)?;
        let bare = sizes
            .iter()
            .map(|rows| Ok((*rows, self.bare(&session, kind, *rows)?)));
        let bare = bare.collect::<Result<Vec<_>>>()?;
        drop(session);
        let host = self
            .host(model, sizes)
            .inspect_err(|fault| println!("{model}, from the host: {fault:#}"));
        let host = host.unwrap_or_default();
        println!(
            "{model:<14} {:>6} {:>10} {:>12} {:>10} {:>9} {:>9}",
            "b", "bare ms", "rows/s", "host ms", "up ms", "down ms"
        );
        let limit = |(rows, bare): (usize, Bare)| {
            let host = host.get(&rows).copied();
            println!(
                "{:<14} {rows:>6} {:>10.3} {:>12.0} {:>10} {:>9.3} {:>9.3}",
                "",
                ms(bare.run),
                rows as f64 / bare.run.as_secs_f64(),
                host.map_or("-".to_owned(), |host| format!("{:.3}", host * 1e3)),
                ms(bare.up),
                ms(bare.down)
            );
            Limit { rows, bare, host }
        };
        Ok(bare.into_iter().map(limit).collect())
    }

    /// Seconds a run, by size, with tensors of the host.
    fn host(&self, model: &str, sizes: &[usize]) -> Result<BTreeMap<usize, f64>> {
        let output = Command::new(std::env::current_exe()?)
            .arg("--models")
            .arg(&self.models)
            .arg("--library")
            .arg(&self.file)
            .args([
                "--device",
                &self.device.to_string(),
                "--ms",
                &self.lasts.as_millis().to_string(),
            ])
            .args(["host", model])
            .args(sizes.iter().map(ToString::to_string))
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "it ended with {}", output.status);
        let line = output
            .stdout
            .split(|byte| *byte == b'\n')
            .rfind(|line| !line.is_empty());
        Ok(serde_json::from_slice(line.context("no figures")?)?)
    }

    fn model(&self, model: &str) -> Result<Value> {
        let kind = Kind::of(model)?;
        let limits = self.limits(model, kind)?;
        let best = limits
            .iter()
            .map(|limit| limit.rows as f64 / limit.bare.run.as_secs_f64());
        let most = best.fold(0.0, f64::max);
        // The smallest that is hardly slower than the fastest, as the engine chooses it.
        let enough =
            |limit: &&Limit| limit.rows as f64 / limit.bare.run.as_secs_f64() >= 0.95 * most;
        let best = limits.iter().find(enough).context("sizes")?;
        let mut told = json!({
            "limits": limits.iter().map(|limit| json!({
                "rows": limit.rows,
                "bare_s": limit.bare.run.as_secs_f64(),
                "up_s": limit.bare.up.as_secs_f64(),
                "down_s": limit.bare.down.as_secs_f64(),
                "host_s": limit.host,
            })).collect::<Vec<_>>(),
            "best": best.rows,
        });
        let mut engines = Vec::new();
        for case in kind.cases(best.rows) {
            let limit = limits.iter().find(|limit| limit.rows == case.limit);
            engines.push(self.engine(model, kind, case, limit.context("its limit")?)?);
        }
        told["engine"] = engines.into();
        Ok(told)
    }

    /// The engine and the bare loop in turn.
    fn engine(&self, model: &str, kind: Kind, case: rows::Case, limit: &Limit) -> Result<Value> {
        let session = self.thread(model, limit.rows)?;
        let engine = engine::Engine::start(self.thread(model, case.max_size)?, kind, case)?;
        let (mut ratios, mut hidden, mut rates) = (vec![], vec![], vec![]);
        let copies = limit.bare.up.as_secs_f64() + limit.bare.down.as_secs_f64();
        engine.rate(self.lasts / 2); // before anything counts
        let mut before = self.bare(&session, kind, limit.rows)?.run.as_secs_f64();
        for _ in 0..TURNS {
            let rate = engine.rate(self.lasts);
            let after = self.bare(&session, kind, limit.rows)?.run.as_secs_f64();
            let bare = f64::midpoint(before, after);
            ratios.push(rate.rows_per_s * bare / limit.rows as f64);
            let period = limit.rows as f64 / rate.rows_per_s;
            hidden.push(1.0 - (period - bare) / copies);
            rates.push(rate);
            before = after;
        }
        let batch = rates.iter().map(|rate| rate.rows_per_batch).sum::<f64>() / rates.len() as f64;
        let mean = kind.longest().map(|_| engine.mean_length);
        let (low, high) = (least(&ratios), greatest(&ratios));
        let ratio = median(ratios);
        let rows_per_s = median(rates.iter().map(|rate| rate.rows_per_s).collect());
        let padding = mean.map(|_| median(rates.iter().map(|rate| rate.padding).collect()));
        let hidden = (case.max_size == limit.rows && mean.is_none()).then(|| median(hidden));
        let to_host = limit
            .host
            .map(|host| rows_per_s / (limit.rows as f64 / host));
        println!(
            "{model:<14} engine b<={} ({} rows a request): {rows_per_s:.0} rows/s, batches of {batch:.0}; ÷ bare b={}: {ratio:.3} ({low:.3}-{high:.3}); ÷ host tensors: {}; copies hidden: {}{}",
            case.max_size,
            case.each,
            limit.rows,
            to_host.map_or("-".to_owned(), |x| format!("{x:.3}")),
            hidden.map_or("-".to_owned(), |x| format!("{x:.3}")),
            mean.map_or(String::new(), |mean| format!(
                "; padded / real steps {:.3}; mean length {mean:.1}, bar 0.85 x (128 / mean) = {:.3}",
                padding.unwrap_or(f64::NAN),
                0.85 * 128.0 / mean
            )),
        );
        Ok(json!({
            "max_size": case.max_size, "rows_a_request": case.each, "bare_rows": limit.rows, "rows_per_s": rows_per_s,
            "rows_a_batch": batch, "ratio": ratio, "least": low, "most": high, "to_host": to_host, "hidden": hidden,
            "mean_length": mean, "padding": padding,
        }))
    }

    /// The same rows on the processor and on the GPU.
    fn error(&self) -> Result<Value> {
        let mut told = serde_json::Map::new();
        for model in ["resnet50_fp32", "mlp"] {
            let kind = Kind::of(model)?;
            let values = |device| -> Result<Vec<f32>> {
                let mut session = Session::open(&self.library, &self.spec(model, device, 8))?;
                let layout = session
                    .signature()
                    .layout(None)
                    .map_err(|_| anyhow!("open axes"))?;
                let rows = kind.rows(&layout, 8, 0);
                let outputs = session.run(&rows.iter().collect::<Vec<_>>())?;
                match outputs
                    .outputs
                    .into_iter()
                    .next()
                    .context("outputs")?
                    .values
                {
                    Values::Float(values) => Ok(values),
                    other => bail!("{other:?}"),
                }
            };
            let (cpu, gpu) = (values(DeviceId::Cpu)?, values(self.device)?);
            let square = |x: f32| f64::from(x) * f64::from(x);
            let apart: f64 = cpu.iter().zip(&gpu).map(|(a, b)| square(a - b)).sum();
            let norm: f64 = cpu.iter().map(|a| square(*a)).sum();
            let relative = (apart / norm).sqrt();
            ensure!(relative.is_finite(), "{model}: {relative}");
            println!("{model:<14} CUDA against CPU, 8 rows: relative error {relative:.2e}");
            told.insert(model.to_owned(), json!(relative));
        }
        Ok(told.into())
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}
