//! Load, run, unload, over and over: what stays behind.

use anyhow::{Context, Result, anyhow};
use inferq::{predict::device_memory, tensor::Row};
use serde_json::{Value, json};

use crate::{Bench, rows::Kind};

const CYCLES: usize = 100;
/// By then everything that is loaded once a process is there.
const SETTLED: usize = 5;

pub fn run(bench: &Bench) -> Result<Value> {
    let mut told = serde_json::Map::new();
    for model in ["mlp", "resnet50_fp16"] {
        let kind = Kind::of(model)?;
        let mut after = Vec::with_capacity(CYCLES);
        for _ in 0..CYCLES {
            let session = bench.thread(model, 8)?;
            session.call(move |session| -> Result<()> {
                let layout = session
                    .signature()
                    .layout(None)
                    .map_err(|_| anyhow!("open axes"))?;
                let rows = kind.rows(&layout, 8, 0);
                session.run(&rows.iter().collect::<Vec<&Row>>())?;
                Ok(())
            })??;
            drop(session);
            let (free, all) = device_memory(bench.device)?.context("a GPU")?;
            after.push(((all - free) as f64, resident()?));
        }
        let (first, last) = (after[SETTLED - 1], after[CYCLES - 1]);
        let (device, resident) = (last.0 / first.0, last.1 / first.1);
        println!(
            "{model:<14} {CYCLES} loads: device {:.0} -> {:.0} MiB (x {device:.4}), RSS {:.0} -> {:.0} MiB (x {resident:.4})",
            first.0 / 1_048_576.0,
            last.0 / 1_048_576.0,
            first.1 / 1_048_576.0,
            last.1 / 1_048_576.0,
        );
        told.insert(
            model.to_owned(),
            json!({ "device": device, "resident": resident }),
        );
    }
    Ok(told.into())
}

/// Bytes.
fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .context("VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib * 1_024.0)
}
