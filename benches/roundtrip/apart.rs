//! A broker with a core to itself, as where it has a machine of its own: what it takes then is the limit.

use crate::node::Node;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// Why it cannot be had here, if it cannot.
pub fn hindrance() -> Option<&'static str> {
    if std::env::var_os("AMQP_URL").is_some() {
        return Some("the broker at AMQP_URL is not this program's to place");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores < 2).then_some("it takes two cores, here is one")
}

/// A node on the first core. This program and all that it starts from now on have the others.
pub fn start() -> Result<Node> {
    let mut cores = cores()?;
    let others = cores.split_off(1);
    // The node's processes are where this one is when it starts them.
    pin(&cores)?;
    let node = Node::start();
    pin(&others)?;
    Ok(node)
}

/// The cores that this program may have, in the words of Linux: `0-3,8`.
fn cores() -> Result<Vec<usize>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let mut lines = text.lines();
    let allowed = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let mut cores = Vec::new();
    for part in allowed.context("no Cpus_allowed_list")?.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>()?..=last.parse::<usize>()?);
    }
    Ok(cores)
}

/// Has every thread of this program run on these cores.
fn pin(cores: &[usize]) -> Result<()> {
    let cores: Vec<_> = cores.iter().map(usize::to_string).collect();
    let mut taskset = Command::new("taskset");
    taskset.args(["--all-tasks", "--cpu-list", "--pid", &cores.join(",")]);
    let output = taskset.arg(std::process::id().to_string()).output()?;
    ensure!(output.status.success(), "{taskset:?}: {output:?}");
    Ok(())
}
