//! The workers under test, each a process of its own.

use crate::load::Form;
use crate::options::EchoSetup;
use crate::replies::{Expected, ReplySize};
use crate::trial::Site;
use crate::worker::{self, Worker};
use anyhow::Result;
use std::fmt;
use std::path::{Path, PathBuf};
use tokio::process::Command;

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
    pub fn log(&self, site: &Site) -> PathBuf {
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
        Worker::start(self.command(site, queue)?, self.log(site))
    }

    /// What starts it.
    pub fn command(&self, site: &Site, queue: &str) -> Result<Command> {
        let url = site.url.as_str();
        Ok(match self {
            Subject::Echo { setup, reply_size } => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["echo", "--url", url, "--queue", queue]);
                command.arg(format!("--body-bytes={}", reply_size.body_bytes));
                command.arg(format!("--header-bytes={}", reply_size.header_bytes));
                command.args(setup.arguments());
                command
            }
            Subject::Inferq { repository } => worker::serve(url, repository),
            Subject::Peer(peer) => {
                let mut command = Command::new(&peer.python);
                let script = format!("benches/roundtrip/peers/{}.py", peer.name);
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
                command.args(["--url", url, "--queue", queue, "--model"]);
                command.arg(&peer.model);
                command
            }
        })
    }
}
