//! What the kernel says of a process.

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// `/proc` counts CPU time in ticks of `USER_HZ`: 100 a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// CPU time so far of a process and its children, user and kernel.
pub fn cpu(pid: u32) -> Result<Duration> {
    family(pid)?.into_iter().map(own_cpu).sum()
}

/// A process and its children.
fn family(pid: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let mut all = vec![pid];
    for child in children.split_whitespace() {
        all.push(child.parse()?);
    }
    Ok(all)
}

fn own_cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // The second field is the name in brackets and may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("/proc/…/stat has no name")?;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u32>)
        .sum::<Result<u32, _>>()?;
    Ok(TICK * ticks)
}

/// CPU time so far of everything that runs on this machine.
pub fn machine_cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let all = all.context("/proc/stat has no line cpu")?;
    let ticks: Vec<u32> = all
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq
    let busy = [0, 1, 2, 5, 6]
        .into_iter()
        .filter_map(|place| ticks.get(place));
    Ok(TICK * busy.sum())
}

/// Memory of a process, KiB.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Memory {
    pub rss_kib: u64,
    /// The highest that `rss_kib` ever was.
    pub peak_kib: u64,
}

/// Of a process and its children; what they share counts for each.
pub fn memory(pid: u32) -> Result<Memory> {
    let mut all = Memory {
        rss_kib: 0,
        peak_kib: 0,
    };
    for process in family(pid)? {
        let own = own_memory(process)?;
        all.rss_kib += own.rss_kib;
        all.peak_kib += own.peak_kib;
    }
    Ok(all)
}

fn own_memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let value = value.with_context(|| format!("/proc/…/status has no {name}"))?;
        value.parse::<u64>().map_err(anyhow::Error::from)
    };
    Ok(Memory {
        rss_kib: field("VmRSS:")?,
        peak_kib: field("VmHWM:")?,
    })
}
