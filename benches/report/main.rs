//! `cargo bench --bench report`: what the other benches left in target/bench/results.json, as one table, as
//! pictures beside it, and those that the product is held to as a table for the README.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::cast_possible_truncation,
    reason = "a bench may stop where it stands"
)]

#[allow(dead_code, reason = "who measures does more with them")]
#[path = "../common/results.rs"]
mod results;

mod bars;
mod picture;

use anyhow::{Context, Result};
use clap::Parser;
use results::Row;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints target/bench/results.json as a table, and draws it.
#[derive(Parser)]
#[command(name = "report")]
struct Options {
    /// Where results.json is [default: target/bench]
    folder: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Deserialize)]
struct Section {
    machine: Value,
    #[serde(default)]
    rows: Vec<Row>,
}

fn main() -> ExitCode {
    let Options { folder, bench } = Options::parse();
    if !bench && folder.is_none() {
        println!("run by `cargo bench --bench report`");
        return ExitCode::SUCCESS;
    }
    match run(&folder.unwrap_or_else(|| "target/bench".into())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("report: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let file = folder.join("results.json");
    let text = fs::read(&file)
        .with_context(|| format!("{} cannot be read; `make bench` writes it", file.display()))?;
    let sections: BTreeMap<String, Section> = serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} is of another version; delete it and run `make bench`",
            file.display()
        )
    })?;
    for (name, Section { machine, .. }) in &sections {
        println!("{name}: {machine}");
    }
    let rows: Vec<&Row> = sections
        .values()
        .flat_map(|section| &section.rows)
        .collect();
    println!(
        "\n| model | load | subject | figure | median | least to most |\n| --- | --- | --- | --- | ---: | ---: |"
    );
    for row in &rows {
        let Row {
            model,
            load,
            subject,
            figure,
            spread,
        } = row;
        let (middle, least, most) = (shown(spread.median), shown(spread.min), shown(spread.max));
        println!("| {model} | {load} | {subject} | {figure} | {middle} | {least} to {most} |");
    }
    println!();
    bars::write(&folder, &sections)?;
    picture::draw(&folder, &rows)
}

/// Three digits, or all that are before the point.
#[must_use]
pub fn shown(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        middling if middling >= 10.0 => 1,
        small if small >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}
