//! What is printed and written down.

use crate::results;
pub use crate::results::{Spread, machine};
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

/// Writes one section of the results and leaves the others as they are.
pub fn write(site: &Site, section: &str, results: &Value) -> Result<()> {
    results::write(&site.folder, &site.machine, section, results)
}
