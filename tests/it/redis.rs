//! Private Redis servers: a free port, nothing on disk, gone when their owner is, however it ends.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::node::{free_port, until};

const BOOT: Duration = Duration::from_secs(60);

/// A Redis server.
pub(crate) struct Redis {
    port: u16,
    /// The shell that owns the server's process group; it kills the group when its standard input ends, which it
    /// does with this process.
    shell: Option<Child>,
}

impl Redis {
    /// Starts a server and waits until it answers.
    pub(crate) fn start() -> Redis {
        let mut redis = Redis {
            port: free_port(),
            shell: None,
        };
        redis.restart();
        redis
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it again, empty, where it was.
    pub(crate) fn restart(&mut self) {
        self.kill9();
        let shell = Command::new("sh")
            .args([
                "-c",
                r#""$@" </dev/null >/dev/null 2>&1 & read _; kill -9 0"#,
                "sh",
            ])
            .args(["redis-server", "--port", &self.port.to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn();
        self.shell = Some(shell.expect("these tests need Redis: apt-get install redis-server"));
        until(BOOT, || {
            let pong = self.try_command(&["PING"]);
            let there = pong.is_some_and(|pong| pong == "+PONG\r\n");
            (!there).then(|| "no Redis: apt-get install redis-server".to_owned())
        });
    }

    /// Kills it as a power cut would; it keeps nothing.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            shell.wait().unwrap();
        }
    }

    /// Stops it or lets it go on: `STOP`, `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let group = format!("-{}", self.shell.as_ref().unwrap().id());
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), "--", &group])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Sends a command and gives its answer as it is on the wire, which must be short.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        self.try_command(words).expect("a Redis that answers")
    }

    fn try_command(&self, words: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(BOOT)).ok()?;
        let bulk = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
        let bulks: String = words.iter().map(bulk).collect();
        stream
            .write_all(format!("*{}\r\n{bulks}", words.len()).as_bytes())
            .ok()?;
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(answer.get(..length)?).into_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill9();
    }
}
