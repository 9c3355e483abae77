//! A worker under test: a process of its own.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const INFERQ: &str = env!("CARGO_BIN_EXE_inferq");
/// A worker that has nothing to do must have stopped by then.
const STOP: Duration = Duration::from_secs(20);

/// `inferq serve` on the packages of a folder.
pub fn serve(url: &str, repository: &Path) -> Command {
    let mut command = Command::new(INFERQ);
    command.args(["serve", "--broker-url", url, "--admin-addr", "127.0.0.1:0"]);
    command.arg("--repository").arg(repository);
    command
}

/// Its metrics, as Prometheus would read them, of the worker that writes this log; `None` while it does not tell them.
pub async fn metrics(log: &Path) -> Option<String> {
    let log = tokio::fs::read_to_string(log).await.ok()?;
    let (_, admin) = log.split_once("starting admin=\"")?;
    let (admin, _) = admin.split_once('"')?;
    let mut stream = TcpStream::connect(admin).await.ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await.ok()?;
    Some(page)
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
    /// Starts it; `log` is where its words go.
    pub fn start(mut command: Command, log: PathBuf) -> Result<Worker> {
        let file = File::create(&log)?;
        let process = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                let program = command.as_std().get_program().display();
                format!("{program} does not start")
            })?;
        Ok(Worker { process, log })
    }

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
