//! `inferq serve` as its users start it: a process of its own, watched through its admin address.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::node::{Node, free_port};

/// No test waits longer for a worker to start, to stop, or to become what it should.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// The sample packages.
pub(crate) fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/packages")
}

/// A virtual host of its own on the shared node: workers share `inferq.unknown` and `inferq.died`.
pub(crate) fn vhost() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("worker-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let node = Node::shared();
    node.ctl(&["add_vhost", &name]);
    node.ctl(&["set_permissions", "-p", &name, "guest", ".*", ".*", ".*"]);
    format!("amqp://guest:guest@127.0.0.1:{}/{name}", node.port())
}

/// A running worker; killed when dropped.
pub(crate) struct Worker {
    child: Child,
    admin: u16,
    log: PathBuf,
}

impl Worker {
    /// Starts a worker and waits until it is ready.
    pub(crate) fn start(url: &str, repository: &Path) -> Worker {
        let worker = Worker::spawn(url, repository, &[]);
        worker.await_ready();
        worker
    }

    /// Starts a worker with more environment, and does not wait.
    pub(crate) fn spawn(url: &str, repository: &Path, environment: &[(&str, &str)]) -> Worker {
        let admin = free_port();
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("worker-{admin}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_inferq"))
            .args(["serve", "--broker-url", url, "--repository"])
            .arg(repository)
            .args(["--admin-addr", &format!("127.0.0.1:{admin}")])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Worker { child, admin, log }
    }

    /// Waits until `/readyz` says so.
    pub(crate) fn await_ready(&self) {
        self.await_that("ready", |worker| {
            worker.get("/readyz").is_some_and(|(code, _)| code == 200)
        });
    }

    /// Waits until something holds.
    pub(crate) fn await_that(&self, what: &str, holds: impl Fn(&Worker) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(
                start.elapsed() < BOUND,
                "the worker is not {what}: {}",
                self.log()
            );
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Status code and body of a page of the admin address; `None` while nobody listens.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        stream.set_read_timeout(Some(BOUND)).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// `/status`.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/status").expect("a worker that listens").1).unwrap()
    }

    /// The sum of a metric's lines that start with `name`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").expect("a worker that listens");
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Bytes that it had resident at the most.
    pub(crate) fn peak_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        kib.map_or(0, |kib: usize| kib * 1024)
    }

    /// Sends a signal by name: `TERM`, `KILL`, `STOP` …
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &id])
                .status()
                .unwrap()
                .success()
        );
    }

    #[cfg(feature = "failpoints")]
    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    #[cfg(feature = "failpoints")]
    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                start.elapsed() < BOUND,
                "the worker does not end: {}",
                self.log()
            );
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
