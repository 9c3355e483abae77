//! A broker with a core to itself, as where it has a machine of its own: what it takes then is the limit.

use crate::node::Node;
use anyhow::{Result, ensure};
use std::process::{Command, Stdio};

/// A node on the first core. This program and all that it starts from now on have the others.
pub fn start() -> Result<Node> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores > 1, "--apart needs two cores, here is one");
    // The node's processes are where this one is when it starts them.
    pin("0")?;
    let node = Node::start();
    pin(&format!("1-{}", cores - 1))?;
    Ok(node)
}

/// Has every thread of this program run on these cores.
fn pin(cores: &str) -> Result<()> {
    let mut taskset = Command::new("taskset");
    taskset.args(["--all-tasks", "--cpu-list", "--pid", cores]);
    taskset.arg(std::process::id().to_string());
    let status = taskset.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "{taskset:?}: {status}");
    Ok(())
}
