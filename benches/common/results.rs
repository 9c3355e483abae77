//! Figures of one run, and the file that keeps them.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Middle, lowest and highest.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = values.get(middle).copied()?;
        let odd = values.len() % 2 == 1;
        let lower = if odd { upper } else { *values.get(middle - 1)? };
        Some(Spread {
            median: f64::midpoint(lower, upper),
            min: *values.first()?,
            max: *values.last()?,
        })
    }

    /// Of what was measured once.
    pub fn once(value: f64) -> Spread {
        Spread {
            median: value,
            min: value,
            max: value,
        }
    }
}

pub fn machine() -> Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(':').nth(1))
        .map(str::trim);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "cores": cores,
        "cpu": model,
        "memory": memory.map(str::trim),
        "system": told("uname", &["-srm"]),
        "rabbitmq": told("dpkg-query", &["--show", "--showformat=${Version}", "rabbitmq-server"]),
        "load_before": load.split_whitespace().next(),
        "at": told("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "commit": told("git", &["describe", "--always", "--dirty"]),
    })
}

/// What a program says in a line, if it does.
fn told(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Writes one section of `results.json` in `folder`, and leaves the others as they are: its figures as rows, and
/// whatever they were made of.
pub fn write(
    folder: &Path,
    machine: &Value,
    section: &str,
    (rows, results): (&[Row], &Value),
) -> Result<()> {
    let file = folder.join("results.json");
    let mut sections = Map::new();
    if file.exists() {
        let unreadable = || format!("{} is not of a bench; remove it", file.display());
        sections = serde_json::from_slice::<Map<String, Value>>(&fs::read(&file)?)
            .with_context(unreadable)?;
    }
    let all = json!({ "machine": machine, "rows": rows, "results": results });
    sections.insert(section.to_owned(), all);
    fs::write(&file, serde_json::to_vec_pretty(&sections)?)?;
    println!("\nwritten to {}", file.display());
    Ok(())
}

/// A figure of one subject under one load with one model, over the runs that there were.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub model: String,
    pub load: String,
    pub subject: String,
    pub figure: String,
    pub spread: Spread,
}

impl Row {
    pub fn new((model, load, subject): (&str, &str, &str), figure: &str, spread: Spread) -> Row {
        Row {
            model: model.to_owned(),
            load: load.to_owned(),
            subject: subject.to_owned(),
            figure: figure.to_owned(),
            spread,
        }
    }
}
