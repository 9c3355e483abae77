//! Private RabbitMQ nodes: free ports, data in a directory of their own, gone when their owner is, however
//! it ends.

use crate::raw::RawConnection;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CTL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
const BOOT: Duration = Duration::from_secs(120);

/// A RabbitMQ node.
pub(crate) struct Node {
    name: String,
    home: PathBuf,
    port: u16,
    dist: u16,
    /// The shell that owns the node's process group; it kills the group when its standard input ends, which
    /// it does with this process.
    shell: Mutex<Option<Child>>,
    /// Preloaded, and how long a write takes to be on disk while there is the file `slow`.
    slow_disk: Option<(PathBuf, Duration)>,
}

impl Node {
    /// Starts a node and waits until it serves.
    pub(crate) fn start() -> Node {
        let node = Node::prepare();
        node.restart();
        node
    }

    fn prepare() -> Node {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(
            Path::new(SERVER).exists(),
            "these tests need RabbitMQ: apt-get install rabbitmq-server"
        );
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        sweep();
        let name = format!("it-{}-{number}", std::process::id());
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        std::fs::create_dir_all(&home).unwrap();
        Node {
            name: format!("{name}@localhost"),
            home,
            port: free_port(),
            dist: free_port(),
            shell: Mutex::new(None),
            slow_disk: None,
        }
    }

    /// Starts a node whose disk takes so long to have what was written, once it is [slowed down](Node::slow_down).
    pub(crate) fn slow_disk(pause: Duration) -> Node {
        let mut node = Node::prepare();
        let library = node.home.join("slow_disk.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/slow_disk.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1"]).arg(source);
        let status = cc.arg("-o").arg(&library).arg("-ldl").status();
        assert!(status.unwrap().success());
        node.slow_disk = Some((library, pause));
        node.restart();
        node
    }

    /// From now on the disk is slow.
    pub(crate) fn slow_down(&self) {
        std::fs::write(self.path("slow"), "").unwrap();
    }

    /// Starts a node that also listens with TLS, with the certificate of `name` in `folder`, and there takes only whom
    /// the authority of `ca.pem` knows; the port.
    pub(crate) fn encrypted(folder: &Path, name: &str) -> (Node, u16) {
        let (node, port, folder) = (Node::prepare(), free_port(), folder.display());
        let settings = format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\n\
             ssl_options.cacertfile = {folder}/ca.pem\n\
             ssl_options.certfile = {folder}/{name}.pem\n\
             ssl_options.keyfile = {folder}/{name}.key\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = true\n"
        );
        std::fs::write(node.path("rabbitmq.conf"), settings).unwrap();
        node.restart();
        (node, port)
    }

    /// Starts nodes that form a cluster.
    #[cfg(feature = "failpoints")]
    pub(crate) fn cluster(size: usize) -> Vec<Node> {
        let first = Node::start();
        let cookie = std::fs::read(first.path(".erlang.cookie")).unwrap();
        let mut nodes = vec![first];
        for _ in 1..size {
            let node = Node::prepare();
            let path = node.path(".erlang.cookie");
            std::fs::write(&path, &cookie).unwrap();
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o400);
            std::fs::set_permissions(&path, private).unwrap();
            node.restart();
            node.ctl(&["stop_app"]);
            node.ctl(&["reset"]);
            node.ctl(&["join_cluster", nodes[0].name()]);
            node.ctl(&["start_app"]);
            nodes.push(node);
        }
        nodes
    }

    /// The node that tests share which leave it as it is.
    pub(crate) fn shared() -> &'static Node {
        static NODE: OnceLock<Node> = OnceLock::new();
        NODE.get_or_init(Node::start)
    }

    #[cfg(feature = "failpoints")]
    /// Its name among Erlang nodes.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The node's AMQP URL.
    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it takes connections.
    #[cfg(feature = "failpoints")]
    pub(crate) fn is_up(&self) -> bool {
        RawConnection::open(self.port).is_ok()
    }

    /// Kills it as a power cut would; what it has is kept.
    pub(crate) fn kill9(&self) {
        if let Some(mut shell) = self.shell.lock().unwrap().take() {
            drop(shell.stdin.take());
            shell.wait().unwrap();
        }
    }

    /// Starts it again with what it had, and waits until it serves.
    pub(crate) fn restart(&self) {
        self.kill9();
        let mut shell = self
            .command("sh")
            .args(["-c", r#""$0" </dev/null >"$1" 2>&1 & read _; kill -9 0"#])
            .args([SERVER, &self.path("out")])
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.as_mut().unwrap().flush().unwrap();
        *self.shell.lock().unwrap() = Some(shell);
        let out = || std::fs::read_to_string(self.path("out")).unwrap_or_default();
        until(BOOT, || {
            let opened = RawConnection::open(self.port);
            opened.map_or_else(
                |error| Some(format!("no broker: {error}: {}", out())),
                |_| None,
            )
        });
    }

    /// `rabbitmqctl`; its output.
    pub(crate) fn ctl(&self, args: &[&str]) -> String {
        let mut command = self.command(CTL);
        command.args(["-q", "-n", &self.name]).args(args);
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rabbitmqctl {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Stops it or lets it go on, all its processes at once: `STOP`, `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let shell = self.shell.lock().unwrap();
        let group = format!("-{}", shell.as_ref().unwrap().id());
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), "--", &group])
            .status();
        assert!(sent.unwrap().success());
    }

    fn path(&self, name: &str) -> String {
        self.home.join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist.to_string())
            .env("RABBITMQ_MNESIA_BASE", self.path("mnesia"))
            .env("RABBITMQ_LOG_BASE", self.path("log"))
            .env("RABBITMQ_PID_FILE", self.path("pid"))
            .env("RABBITMQ_CONFIG_FILE", self.path("rabbitmq"))
            .env("RABBITMQ_CONF_ENV_FILE", self.path("env.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.path("plugins"))
            .env("RABBITMQ_FEATURE_FLAGS_FILE", self.path("flags"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+sbwt none +sbwtdcpu none +sbwtdio none",
            );
        if let Some((library, pause)) = &self.slow_disk {
            command.env("LD_PRELOAD", library);
            command.env("SLOW_DISK_US", pause.as_micros().to_string());
            command.env("SLOW_DISK_WHILE", self.path("slow"));
        }
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill9();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// Removes what nodes of ended processes left: one that is killed with its process cannot tidy up.
fn sweep() {
    let entries = std::fs::read_dir(env!("CARGO_TARGET_TMPDIR")).into_iter();
    for entry in entries.flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let owner = name
            .strip_prefix("it-")
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Waits until nothing is amiss any more.
pub(crate) fn until(bound: Duration, amiss: impl Fn() -> Option<String>) {
    let start = Instant::now();
    while let Some(what) = amiss() {
        assert!(start.elapsed() < bound, "{what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
