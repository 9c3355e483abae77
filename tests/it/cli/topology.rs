//! `inferq topology`, and workers that declare nothing themselves.

use std::time::Duration;

use futures::StreamExt;

use super::*;
use crate::{
    node::Node,
    worker::{Worker, vhost},
};

/// How long a reply may take.
const BOUND: Duration = Duration::from_secs(20);
const PASSIVE: [(&str, &str); 1] = [("INFERQ__BROKER__TOPOLOGY", "passive")];

/// The virtual host that a URL ends in.
fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// A passive worker answers, and buries what has no reply address, of an unknown package too.
fn serves(url: &str, packages: &Packages) {
    let worker = Worker::spawn(url, Path::new(packages.path()), &PASSIVE);
    worker.await_ready();
    let payment = sample("fraud/not-fraud-1.json");
    let lines = run(&["send", "fraud", &payment, "--broker-url", url]).lines();
    assert_eq!(lines[0]["status"], "outcome");
    publish_without_reply_to(url, &["fraud", "nobody"]);
    for queue in ["inferq.dead.fraud", "inferq.dead.unknown"] {
        await_letter(&worker, url, queue);
    }
}

fn await_letter(worker: &Worker, url: &str, queue: &str) {
    worker.await_that(&format!("burying in {queue}"), |_| {
        let list = Node::shared().ctl(&["list_queues", "-p", name(url), "name", "messages"]);
        list.lines().any(|line| line == format!("{queue}\t1"))
    });
}

#[tokio::main(flavor = "current_thread")]
async fn publish_without_reply_to(url: &str, keys: &[&str]) {
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(url, properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    for key in keys {
        let options = lapin::options::BasicPublishOptions::default();
        let properties = lapin::BasicProperties::default();
        let published =
            channel.basic_publish("inferq".into(), (*key).into(), options, b"{}", properties);
        published.await.unwrap();
    }
    channel.close(200, "bye".into()).await.unwrap();
}

#[test]
fn a_passive_worker_without_its_queues_is_69_and_says_who_makes_them() {
    let packages = Packages::of(&["fraud"]);
    let url = vhost();
    let mut command = inferq(&["serve", "--admin-addr", "127.0.0.1:0", "--broker-url", &url]);
    command
        .args(["--repository", packages.path()])
        .envs(PASSIVE);
    let done = Done::of(&command.output().unwrap());
    done.failed(
        69,
        &["inferq", "inferq topology export", "import_definitions"],
    );
}

#[test]
fn what_topology_declare_makes_is_all_that_a_passive_worker_needs() {
    let packages = Packages::of(&["fraud"]);
    let url = vhost();
    let args = [
        "topology",
        "declare",
        "--repository",
        packages.path(),
        "--broker-url",
        &url,
    ];
    let mut command = inferq(&args);
    // It declares, whatever the workers do.
    let done = Done::of(&command.envs(PASSIVE).output().unwrap());
    assert_eq!(
        (done.code, done.out.as_str()),
        (0, "declared the queues of fraud\n"),
        "{}",
        done.err
    );
    serves(&url, &packages);
}

#[test]
fn what_topology_export_prints_is_all_that_a_passive_worker_needs() {
    let packages = Packages::of(&["fraud"]);
    let url = vhost();
    let done = run(&[
        "topology",
        "export",
        "--repository",
        packages.path(),
        "--broker-url",
        &url,
    ]);
    assert_eq!(done.code, 0, "{}", done.err);
    let file = packages.0.path().join("definitions.json");
    fs::write(&file, &done.out).unwrap();
    Node::shared().ctl(&["import_definitions", file.to_str().unwrap()]);
    serves(&url, &packages);
}

/// Has a request answered in a queue of the producer's own.
#[tokio::main(flavor = "current_thread")]
async fn answers_in(url: &str, queue: &str, file: &str) {
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(url, properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let declaring = channel.queue_declare(queue.into(), <_>::default(), <_>::default());
    declaring.await.unwrap();
    let consumer = "taker".into();
    let consuming = channel.basic_consume(queue.into(), consumer, <_>::default(), <_>::default());
    let mut replies = consuming.await.unwrap();
    let asking = lapin::BasicProperties::default()
        .with_content_type("application/json".into())
        .with_reply_to(queue.into());
    let (body, options) = (fs::read(file).unwrap(), <_>::default());
    let published = channel.basic_publish("inferq".into(), "fraud".into(), options, &body, asking);
    published.await.unwrap();
    let reply = tokio::time::timeout(BOUND, replies.next()).await;
    let reply = reply.expect("a reply in time").unwrap().unwrap();
    let kind = reply.properties.kind().as_ref().map(ToString::to_string);
    assert_eq!(kind.as_deref(), Some("outcome"));
    reply.ack(<_>::default()).await.unwrap();
}

/// The URL of a user of this virtual host with the permissions that the README gives to this role.
fn user(url: &str, role: &str) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let line = readme
        .lines()
        .find_map(|line| {
            line.trim_start()
                .strip_prefix(&format!("rabbitmqctl set_permissions -p VHOST {role} "))
        })
        .unwrap_or_else(|| panic!("the README gives no permissions to {role}"));
    let patterns: Vec<_> = line.split('\'').skip(1).step_by(2).collect();
    let (node, vhost) = (Node::shared(), name(url));
    let user = format!("{role}-{vhost}");
    node.ctl(&["add_user", &user, "secret"]);
    let allow = ["set_permissions", "-p", vhost, &user];
    node.ctl(&[&allow[..], &patterns].concat());
    url.replace("guest:guest", &format!("{user}:secret"))
}

#[test]
fn the_permissions_of_the_readme_are_enough_for_workers_and_producers() {
    let packages = Packages::of(&["fraud"]);
    for (role, environment) in [("worker", &[][..]), ("passive-worker", &PASSIVE)] {
        let url = vhost();
        if role == "passive-worker" {
            let declaring = ["topology", "declare", "--repository", packages.path()];
            let declared = run(&[&declaring[..], &["--broker-url", &url]].concat());
            assert_eq!(declared.code, 0, "{}", declared.err);
        }
        let (theirs, producer) = (user(&url, role), user(&url, "producer"));
        let worker = Worker::spawn(&theirs, Path::new(packages.path()), environment);
        worker.await_ready();
        let payment = sample("fraud/not-fraud-1.json");
        let lines = run(&["send", "fraud", &payment, "--broker-url", &producer]).lines();
        assert_eq!(lines[0]["status"], "outcome");
        publish_without_reply_to(&producer, &["fraud", "nobody"]);
        for queue in ["inferq.dead.fraud", "inferq.dead.unknown"] {
            await_letter(&worker, &url, queue);
        }
        // a version that another worker may have comes back from a retry queue before it is answered
        let unknown = ["send", "fraud", &payment, "--version-pin", "9.0.0"];
        let done = run(&[&unknown[..], &["--broker-url", &producer]].concat());
        assert!(done.out.contains("unknown_version"), "{}", done.out);
        assert!(worker.metric("inferq_retries_returned_total") > 0.0);
        answers_in(&producer, "producer.replies", &payment);
    }
}

#[test]
fn an_export_needs_no_broker_and_names_its_virtual_host() {
    let vhost_of = |args: &[&str]| {
        let args = [
            &["topology", "export", "--package", "a", "--package", "b"],
            args,
        ]
        .concat();
        let definitions: Value = serde_json::from_str(&run(&args).out).unwrap();
        let names: Vec<_> = definitions["queues"].as_array().unwrap().iter().collect();
        assert!(names.iter().any(|queue| queue["name"] == "inferq.b"));
        definitions["queues"][0]["vhost"].clone()
    };
    assert_eq!(vhost_of(&[]), "/");
    assert_eq!(
        vhost_of(&["--broker-url", "amqp://h/of-the-url"]),
        "of-the-url"
    );
    assert_eq!(vhost_of(&["--vhost", "named"]), "named");
    run(&["topology", "export", "--repository", "/nowhere"]).failed(64, &["/nowhere", "--package"]);
    run(&[
        "topology",
        "declare",
        "--package",
        "a",
        "--broker-url",
        "amqp://127.0.0.1:1",
    ])
    .failed(69, &["no broker at 127.0.0.1:1"]);
}

#[test]
fn an_export_names_each_queue_once_and_says_which_folders_get_none() {
    let queues = |args: &[&str]| {
        let done = run(&[&["topology", "export"], args].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        let definitions: Value = serde_json::from_str(&done.out).unwrap();
        let names = definitions["queues"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|queue| queue["name"].to_string()).collect();
        (names, done.err)
    };
    let (once, _) = queues(&["--package", "fraud"]);
    let (twice, _) = queues(&["--package", "fraud", "--package", "fraud"]);
    assert_eq!(twice, once);
    let packages = Packages::of(&["fraud"]);
    symlink(samples().join("fraud"), packages.0.path().join("Fraud 2")).unwrap();
    let (found, told) = queues(&["--repository", packages.path()]);
    assert_eq!(found, once);
    assert!(
        told.contains("Fraud 2: the package's name contains 'F'"),
        "{told}"
    );
}
