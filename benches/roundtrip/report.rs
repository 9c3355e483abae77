//! What is printed and written down.

use crate::results;
pub use crate::results::{Row, Spread, machine};
use crate::trial::{Figures, Site};
use anyhow::Result;
use serde_json::Value;

pub fn heading() {
    println!(
        "{:<42} {:>13} {:>14} {:>12} {:>8} {:>9}",
        "", "round trips/s", "worker µs/msg", "all µs/msg", "RSS MiB", "peak MiB"
    );
}

pub fn line(name: &str, figures: &Figures) {
    let mib = |kib: u64| format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024);
    println!(
        "{name:<42} {:>13.0} {:>14.1} {:>12.1} {:>8} {:>9}",
        figures.round_trips_per_s,
        figures.cpu_us,
        figures.machine_cpu_us,
        mib(figures.memory.rss_kib),
        mib(figures.memory.peak_kib),
    );
}

/// The model of this bench.
pub const MODEL: &str = "no-op";

/// What a worker came to on a backlog, where `load` says which.
pub fn rows(load: &str, subject: &str, runs: &[Figures]) -> Vec<Row> {
    let of = |figure: fn(&Figures) -> f64| Spread::of(runs.iter().map(figure));
    let figures = [
        ("items/s", of(|run| run.round_trips_per_s)),
        ("worker µs/item", of(|run| run.cpu_us)),
        ("RSS MiB", of(|run| run.memory.rss_kib as f64 / 1024.0)),
    ];
    let row = |(figure, spread): (&str, Option<Spread>)| {
        Some(Row::new((MODEL, load, subject), figure, spread?))
    };
    figures.into_iter().filter_map(row).collect()
}

/// Writes one section of the results and leaves the others as they are.
pub fn write(site: &Site, section: &str, rows: &[Row], results: &Value) -> Result<()> {
    results::write(&site.folder, &site.machine, section, (rows, results))
}
