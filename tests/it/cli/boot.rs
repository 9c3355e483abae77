//! `inferq serve` that cannot start says why, and how to mend it.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    node::{Node, free_port},
    worker::{Worker, vhost},
};

/// `serve` on these packages with a free admin port; it is expected to end.
fn serve(repository: &str, url: &str, environment: &[(&str, &str)]) -> Done {
    let mut command = inferq(&["serve", "--repository", repository, "--broker-url", url]);
    command
        .args(["--admin-addr", "127.0.0.1:0"])
        .envs(environment.iter().copied());
    Done::of(&command.output().unwrap())
}

/// An address where nobody listens.
fn nobody() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// A shared library that says it is ONNX Runtime 1.17.3.
fn old_library(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("old.c"), dir.join("old.so"));
    let code = r#"static const void *api(unsigned v) { (void)v; return 0; }
        static const char *version(void) { return "1.17.3"; }
        static const struct { const void *(*a)(unsigned); const char *(*v)(void); } base = { api, version };
        const void *OrtGetApiBase(void) { return &base; }"#;
    fs::write(&source, code).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.unwrap().success());
    library
}

#[test]
fn a_missing_or_old_library_is_69_with_its_place_and_the_mend() {
    let packages = Packages::of(&["fraud"]);
    let url = format!("amqp://{}", nobody());
    let missing = [("INFERQ__RUNTIME__LIBRARY", "/nowhere/libonnxruntime.so")];
    serve(packages.path(), &url, &missing).failed(
        69,
        &[
            "/nowhere/libonnxruntime.so",
            "make setup",
            "runtime.library",
        ],
    );
    let dir = tempfile::tempdir().unwrap();
    let old = old_library(dir.path());
    let old = [("ORT_DYLIB_PATH", old.to_str().unwrap())];
    serve(packages.path(), &url, &old).failed(
        69,
        &[
            "is ONNX Runtime 1.17.3",
            "expected 1.24 or newer",
            "make setup",
        ],
    );
}

#[test]
fn an_absent_broker_is_69_after_the_boots_patience() {
    let packages = Packages::of(&["fraud"]);
    let (address, start) = (nobody(), Instant::now());
    let done = serve(packages.path(), &format!("amqp://{address}"), &[]);
    done.failed(
        69,
        &[
            &format!("no broker at {address}"),
            "broker.url",
            "waiting for the broker",
        ],
    );
    assert!(start.elapsed().as_secs() >= 9, "no patience");
}

/// Told to stop before it serves, it ends at once and well; until then its pages say why it does not serve.
#[track_caller]
fn assert_stops_while_starting(mut worker: Worker, why: &[&str]) {
    worker.await_that("starting, and waiting", |worker| {
        let Some((code, text)) = worker.get("/readyz") else {
            return false;
        };
        assert_eq!((code, text.get(..10)), (503, Some("starting: ")), "{text}");
        why.iter().all(|part| text.contains(part))
    });
    assert_eq!(worker.get("/livez"), Some((200, "ok\n".to_owned())));
    let told = Instant::now();
    worker.signal("TERM");
    let status = worker.wait();
    assert_eq!(status.code(), Some(0), "{}", worker.log());
    assert!(told.elapsed() < Duration::from_secs(3), "{}", worker.log());
    assert!(worker.log().contains("drained"));
}

#[test]
fn a_worker_that_waits_for_its_broker_says_so_and_stops_when_told() {
    let packages = Packages::of(&["fraud"]);
    let address = nobody();
    let url = format!("amqp://{address}");
    let worker = Worker::spawn(&url, Path::new(packages.path()), &[]);
    let no_broker = format!("no broker at {address}");
    assert_stops_while_starting(worker, &["waiting for the broker", &no_broker]);
}

/// Passes one connection on to the shared node, then listens no more.
fn one_connection() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        drop(listener);
        let node = TcpStream::connect(("127.0.0.1", Node::shared().port())).unwrap();
        let pass = |mut from: TcpStream, mut to: TcpStream| {
            // However the connection ends, it ends for both.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        };
        let (from, to) = (client.try_clone().unwrap(), node.try_clone().unwrap());
        thread::spawn(move || pass(from, to));
        pass(node, client);
    });
    address.to_string()
}

#[test]
fn a_broker_that_vanishes_after_the_first_look_is_waited_for_and_the_worker_stops_when_told() {
    let packages = Packages::of(&["fraud"]);
    Node::shared();
    let address = one_connection();
    let worker = Worker::spawn(
        &format!("amqp://{address}/%2f"),
        Path::new(packages.path()),
        &[],
    );
    let no_broker = format!("no broker at {address}");
    assert_stops_while_starting(worker, &["exchanges and queues", &no_broker]);
}

#[test]
fn a_worker_told_to_stop_while_it_loads_stops() {
    for _ in 0..5 {
        let mut worker = Worker::spawn(&format!("amqp://{}", nobody()), &samples(), &[]);
        worker.await_that("listening", |worker| worker.get("/livez").is_some());
        worker.signal("TERM");
        let status = worker.wait();
        assert_eq!(status.code(), Some(0), "{}", worker.log());
    }
}

#[test]
fn a_wrong_password_and_a_missing_virtual_host_are_69_at_once() {
    let packages = Packages::of(&["fraud"]);
    let port = Node::shared().port();
    let url = format!("amqp://guest:hunter2@127.0.0.1:{port}/%2f");
    for done in [
        serve(
            packages.path(),
            &url,
            &[("INFERQ__TELEMETRY__LOG_FILTER", "trace")],
        ),
        run(&[
            "send",
            "fraud",
            &sample("fraud/not-fraud-1.json"),
            "--broker-url",
            &url,
        ]),
        run(&[
            "topology",
            "declare",
            "--package",
            "fraud",
            "--broker-url",
            &url,
        ]),
    ] {
        done.failed(69, &["refused user \"guest\"", "check user and password"]);
        assert!(!done.err.contains("waiting for the broker"), "{}", done.err);
        assert!(!done.err.contains("hunter2"), "{}", done.err);
        assert!(!done.err.contains("lapin"), "{}", done.err);
    }
    let url = format!("amqp://guest:guest@127.0.0.1:{port}/nosuch");
    let done = serve(packages.path(), &url, &[]);
    done.failed(69, &["virtual host \"nosuch\"", "create it"]);
    assert!(!done.err.contains("waiting for the broker"), "{}", done.err);
    assert!(!done.err.contains("lapin"), "{}", done.err);
}

#[test]
fn a_port_that_is_taken_is_64_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let taken = [
        "serve",
        "--admin-addr",
        &address,
        "--broker-url",
        "amqp://127.0.0.1:1",
    ];
    run(&taken).failed(64, &[&address, "admin.addr", "port 0"]);
}

#[test]
fn a_repository_that_is_missing_or_empty_is_64() {
    let url = format!("amqp://{}", nobody());
    let done = serve("/nowhere", &url, &[]);
    done.failed(
        64,
        &["repository /nowhere", "<name>/<version>/package.toml"],
    );
    let empty = Packages::of(&[]);
    serve(empty.path(), &url, &[]).failed(64, &[empty.path(), "no package found"]);
}

#[test]
fn where_every_package_is_broken_each_is_explained_and_the_code_is_65() {
    let packages = Packages::of(&[]);
    packages.changed("fraud", "deadline_ms", "deadlin_ms");
    packages.changed("diagnosis", "format = 1", "format = 99");
    let done = serve(packages.path(), &format!("amqp://{}", nobody()), &[]);
    let parts = [
        "no package is live",
        "fraud/1.0.0",
        "deadlin_ms",
        "diagnosis/1.0.0",
        "format",
    ];
    done.failed(65, &parts);
}

#[test]
fn a_broken_package_stops_no_other_and_is_explained_in_log_and_status() {
    let packages = Packages::of(&["diagnosis"]);
    packages.changed("fraud", "deadline_ms", "deadlin_ms");
    let url = vhost();
    let worker = Worker::start(&url, Path::new(packages.path()));
    let file = sample("diagnosis/benign-1.json");
    let lines = run(&["send", "diagnosis", &file, "--broker-url", &url]).lines();
    assert_eq!(lines[0]["body"]["diagnosis"], "benign");
    let status = worker.status();
    assert_eq!(status["packages"][0]["name"], "diagnosis");
    let refused = status["refused"][0].to_string();
    for text in [refused, worker.log()] {
        assert!(
            text.contains("fraud/1.0.0") && text.contains("deadlin_ms"),
            "{text}"
        );
    }
}

#[test]
fn the_default_repository_is_the_folder_packages() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("amqp://{}", nobody());
    let args = ["serve", "--admin-addr", "127.0.0.1:0", "--broker-url", &url];
    let here = || Done::of(&inferq(&args).current_dir(dir.path()).output().unwrap());
    here().failed(64, &["repository packages: cannot be read"]);
    fs::create_dir(dir.path().join("packages")).unwrap();
    here().failed(64, &["repository packages: no package found"]);
}
