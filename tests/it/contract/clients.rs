//! Runs the foreign clients.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{case::Case, reply::Reply};

/// Clients that nobody here wrote.
pub(super) const CLIENTS: [&str; 2] = ["pika", "aio-pika"];

/// A client that has been told what to send.
pub(super) struct Conversation(Child);

impl Conversation {
    /// Starts a client on some cases.
    pub(super) fn start(client: &str, url: &str, cases: &[Case]) -> Conversation {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/venv/bin/python");
        assert!(
            python.exists(),
            "these tests need foreign clients: make setup"
        );
        let mut child = Command::new(python)
            .arg(root.join("tests/clients/contract.py"))
            .args(["--client", client, "--url", url, "--seconds", "120"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let wires: Vec<_> = cases.iter().map(|case| &case.wire).collect();
        let text = serde_json::to_vec(&wires).unwrap();
        child.stdin.take().unwrap().write_all(&text).unwrap();
        Conversation(child)
    }

    /// Every reply, by its case's name; every case that awaits one has one.
    pub(super) fn replies(self) -> BTreeMap<String, Reply> {
        let done = self.0.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{errors}");
        let mut replies = BTreeMap::new();
        for line in String::from_utf8(done.stdout).unwrap().lines() {
            let reply = Reply(serde_json::from_str(line).unwrap());
            let name = reply.0["name"].as_str().unwrap().to_owned();
            assert!(
                replies.insert(name, reply).is_none(),
                "a second reply: {line}"
            );
        }
        replies
    }
}

/// Sends the cases and holds each reply against what the contract says.
pub(super) fn hold(client: &str, url: &str, cases: &[Case]) {
    let cases: Vec<_> = cases.iter().map(|case| suited(client, case)).collect();
    let replies = Conversation::start(client, url, &cases).replies();
    let faults: Vec<String> = cases
        .iter()
        .flat_map(|case| replies[&case.name].faults(case))
        .collect();
    assert!(faults.is_empty(), "{client}:\n{}", faults.join("\n"));
}

/// aio-pika makes up a message id where there is none: it gets one that is known here.
fn suited(client: &str, case: &Case) -> Case {
    if client == "aio-pika" && case.property("message_id").is_none() {
        return case.clone().with("message_id", "known");
    }
    case.clone()
}
