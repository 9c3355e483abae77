//! The workers under test, each a process of its own.

use crate::load::Form;
use crate::options::EchoSetup;
use crate::replies::{Expected, ReplySize};
use crate::trial::Site;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

const INFERQ: &str = env!("CARGO_BIN_EXE_inferq");
/// A worker that has nothing to do must have stopped by then.
const STOP: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub enum Subject {
    Echo {
        setup: EchoSetup,
        reply_size: ReplySize,
    },
    /// `inferq serve` on the packages of this folder.
    Inferq { repository: PathBuf },
    /// What people write without inferq: a worker in Python.
    Peer(Peer),
}

/// A worker of `benches/roundtrip/peers`.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Of its file.
    pub name: &'static str,
    /// That has its libraries.
    pub python: PathBuf,
    /// What it runs.
    pub model: PathBuf,
}

/// What inferq is compared with; whether it settles as safely (replies persistent, and confirmed before the request is
/// acknowledged); and its backlog, as a part of inferq's: the slow ones would take the day.
pub const PEERS: [(&str, bool, u64); 4] = [
    ("pika_pipelined", true, 1),
    ("aio_pika_batching", true, 4),
    ("faststream_worker", true, 10),
    (CELERY, false, 10),
];
/// That takes requests in a form of its own.
const CELERY: &str = "celery_worker";

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Echo { setup, .. } => setup.fmt(f),
            Subject::Inferq { .. } => f.write_str("inferq"),
            Subject::Peer(peer) => f.write_str(peer.name),
        }
    }
}

impl Subject {
    /// How its requests are written.
    pub fn form(&self) -> Form {
        match self {
            Subject::Peer(peer) if peer.name == CELERY => Form::CeleryTask,
            Subject::Echo { .. } | Subject::Inferq { .. } | Subject::Peer(_) => Form::Plain,
        }
    }

    pub fn expected(&self) -> Expected {
        match self {
            Subject::Echo { reply_size, .. } => Expected::Bytes(reply_size.body_bytes),
            Subject::Inferq { .. } | Subject::Peer(_) => Expected::Amount,
        }
    }

    /// Where the worker's words go.
    fn log(&self, site: &Site) -> PathBuf {
        let name = match self {
            Subject::Echo { .. } => "echo",
            Subject::Inferq { .. } => "inferq",
            Subject::Peer(peer) => peer.name,
        };
        site.folder.join(format!("{name}.log"))
    }

    /// Says of a run that it does not count.
    pub fn void(&self, site: &Site) -> String {
        let log = self.log(site);
        format!("this run of {self} is void (its log: {})", log.display())
    }

    pub fn start(&self, site: &Site, queue: &str) -> Result<Worker> {
        let url = site.url.as_str();
        let mut command = match self {
            Subject::Echo { setup, reply_size } => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["echo", "--url", url, "--queue", queue]);
                command.arg(format!("--body-bytes={}", reply_size.body_bytes));
                command.arg(format!("--header-bytes={}", reply_size.header_bytes));
                command.args(setup.arguments());
                command
            }
            Subject::Inferq { repository } => {
                let mut command = Command::new(INFERQ);
                command.args(["serve", "--broker-url", url, "--admin-addr", "127.0.0.1:0"]);
                command.arg("--repository").arg(repository);
                command
            }
            Subject::Peer(peer) => {
                let mut command = Command::new(&peer.python);
                let script = format!("benches/roundtrip/peers/{}.py", peer.name);
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
                command.args(["--url", url, "--queue", queue, "--model"]);
                command.arg(&peer.model);
                command
            }
        };
        let log = self.log(site);
        let file = File::create(&log)?;
        let process = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{self} does not start"))?;
        Ok(Worker { process, log })
    }
}

/// Has inferq declare what it needs at the broker.
pub async fn declare_topology(url: &str, repository: &Path) -> Result<()> {
    let mut command = Command::new(INFERQ);
    command.args(["topology", "declare", "--broker-url", url, "--repository"]);
    let output = command.arg(repository).output().await;
    let output = output.with_context(|| format!("{INFERQ} does not start"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("inferq topology declare: {}: {said}", output.status);
    }
    Ok(())
}

pub struct Worker {
    process: Child,
    log: PathBuf,
}

impl Worker {
    pub fn pid(&self) -> Result<u32> {
        self.process.id().context("the worker has ended")
    }

    /// Resolves when the worker ends, which it should not.
    pub async fn ended(&mut self) -> anyhow::Error {
        match self.process.wait().await {
            Ok(status) => self.died(status),
            Err(error) => error.into(),
        }
    }

    fn died(&self, status: ExitStatus) -> anyhow::Error {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = said.lines().rev().take(5).collect::<Vec<_>>();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        anyhow::anyhow!("the worker ended with {status}; it said last:\n{last}")
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(mut self) -> Result<()> {
        let pid = self.pid()?.to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await?;
        let stopped = tokio::time::timeout(STOP, self.process.wait()).await;
        let status = stopped.with_context(|| format!("no stop within {STOP:?} of SIGTERM"))??;
        if !status.success() {
            return Err(self.died(status));
        }
        Ok(())
    }
}
