//! `inferq dead`: letters that workers made, and letters that a client put there.

mod client;
mod looking;
mod replaying;

use serde_json::json;

use self::client::{Client, marked, properties};
use super::*;
use crate::{
    node::Node,
    worker::{Worker, vhost},
};

/// A virtual host with the queues of `fraud`, and a client on it.
async fn fraud() -> (String, Client) {
    let url = vhost();
    let args = [
        "topology",
        "declare",
        "--package",
        "fraud",
        "--broker-url",
        &url,
    ];
    assert_eq!(run(&args).code, 0);
    let client = Client::connect(&url).await;
    (url, client)
}

/// `inferq dead …`.
fn dead(url: &str, args: &[&str]) -> Done {
    run(&[&["dead"], args, &["--broker-url", url]].concat())
}

/// A part of each letter that `inferq dead list --json …` prints.
fn listed(url: &str, part: &str, args: &[&str]) -> Vec<Value> {
    let lines = dead(url, &[&["list", "fraud", "--json"], args].concat()).lines();
    lines.iter().map(|line| line[part].clone()).collect()
}

/// The letters of three deaths, as `list` and `show` have them.
fn assert_listed_and_shown(url: &str, payment: &[u8], folder: &Path) {
    let lines = dead(url, &["list", "fraud", "--json"]).lines();
    let brief = |line: &Value| {
        (
            line["id"].clone(),
            line["reason"].clone(),
            line["stage"].clone(),
        )
    };
    let found: Vec<_> = lines.iter().map(brief).collect();
    let expected = [
        ("poison", "poison", "predict"),
        ("nowhere", "reply_undeliverable", "encode"),
        ("mute", "no_reply_to", "decode"),
    ];
    assert_eq!(
        found,
        expected.map(|(id, reason, stage)| (json!(id), json!(reason), json!(stage)))
    );
    for line in &lines {
        assert_eq!(
            (&line["size"], &line["attempts"]),
            (&json!(payment.len()), &json!(1))
        );
        assert_eq!(line["content_type"], "application/json");
        assert!(
            line["worker"]
                .as_str()
                .is_some_and(|worker| !worker.is_empty()),
            "{line}"
        );
        assert!(
            line["died_at"].as_str().is_some_and(|at| at.ends_with('Z')),
            "{line}"
        );
    }
    let done = dead(url, &["list", "fraud"]);
    assert_eq!(
        done.out.lines().count(),
        5,
        "a head, three letters, a footer: {}",
        done.out
    );
    let footer = done.out.lines().last().unwrap();
    assert_eq!(
        footer,
        "3 letters: no_reply_to 1, poison 1, reply_undeliverable 1"
    );
    let unknown = dead(url, &["list", "unknown", "--json"]).lines();
    assert_eq!(
        (&unknown[0]["id"], &unknown[0]["reason"]),
        (&json!("lost"), &json!("no_reply_to"))
    );

    let file = folder.join("body.json");
    let shown = dead(
        url,
        &["show", "fraud", "mute", "--body", file.to_str().unwrap()],
    );
    assert_eq!(
        (shown.code, fs::read(&file).unwrap()),
        (0, payment.to_vec()),
        "{}",
        shown.err
    );
    assert!(
        shown.out.contains("no_reply_to") && !shown.out.contains('{'),
        "{}",
        shown.out
    );
    let whole = dead(url, &["show", "fraud", "poison", "--json"]).lines();
    assert_eq!(
        whole[0]["body"],
        serde_json::from_slice::<Value>(payment).unwrap()
    );
    assert_eq!(whole[0]["properties"]["reply_to"], "replies");
    assert_eq!(whole[0]["headers"]["inferq-reason"], "poison");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_workers_bury_is_listed_shown_and_answered_when_it_is_replayed() {
    let (url, client) = fraud().await;
    let packages = Packages::of(&["fraud"]);
    let payment = fs::read(sample("fraud/not-fraud-1.json")).unwrap();
    let poison = properties("poison").with_reply_to("replies".into());
    client.reply_queue("replies").await;
    client
        .publish("inferq", "fraud", vec![(poison, payment.clone())])
        .await;
    client.give_back("inferq.fraud", 4).await;
    // No request is set apart at 1.
    let at_once = [("INFERQ__INTAKE__POISON_DELIVERIES", "1")];
    let worker = Worker::spawn(&url, Path::new(packages.path()), &at_once);
    worker.await_ready();
    client.until_ready("inferq.dead.fraud", 1).await;
    let nowhere = properties("nowhere").with_reply_to("gone".into());
    for (key, properties) in [
        ("fraud", nowhere),
        ("fraud", properties("mute")),
        ("nobody", properties("lost")),
    ] {
        client
            .publish("inferq", key, vec![(properties, payment.clone())])
            .await;
        client.until_rest(&worker).await;
    }
    client.until_ready("inferq.dead.fraud", 3).await;
    client.until_ready("inferq.dead.unknown", 1).await;

    assert_listed_and_shown(&url, &payment, packages.0.path());

    let mute = ["replay", "fraud", "--reason", "no_reply_to"];
    dead(&url, &mute).failed(64, &["left 1 letter", "no reply_to", "--reply-to QUEUE"]);
    client.until_ready("inferq.dead.fraud", 3).await;
    client.reply_queue("again").await;
    let done = dead(
        &url,
        &[&mute[..], &["--reply-to", "again", "--deadline", "1m"]].concat(),
    );
    assert_eq!(
        (done.code, done.out.as_str()),
        (0, "replayed 1 letter\n"),
        "{}",
        done.err
    );
    client.until_ready("again", 1).await;
    let reply = &client.drain("again").await[0];
    assert_eq!(
        reply.properties.kind().as_ref().unwrap().as_str(),
        "outcome"
    );
    assert_eq!(
        reply.properties.correlation_id().as_ref().unwrap().as_str(),
        "mute"
    );
    assert_eq!(listed(&url, "id", &[]), ["poison", "nowhere"]);
    dead(&url, &["replay", "unknown"]).failed(64, &["--to NAME"]);
    let to = ["replay", "unknown", "--to", "fraud", "--reply-to", "again"];
    assert_eq!(dead(&url, &to).out, "replayed 1 letter\n");
    client.until_ready("again", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_take_what_they_say_and_looking_leaves_every_letter_in_its_place() {
    let (url, client) = fraud().await;
    // More than several batches, told apart by reason and age.
    let hours = |number: usize| Some(number as u64 / 100);
    let letter = |number: usize| {
        let reason = if number.is_multiple_of(3) {
            "poison"
        } else {
            "model_fault"
        };
        (
            marked(properties(&number.to_string()), reason, hours(number)),
            number.to_string().into_bytes(),
        )
    };
    client
        .publish(
            "inferq.dead",
            "fraud",
            (0..2_000).rev().map(letter).collect(),
        )
        .await;
    let ids = |args: &[&str]| -> Vec<usize> {
        listed(&url, "id", args)
            .iter()
            .map(|id| id.as_str().unwrap().parse().unwrap())
            .collect()
    };
    let all: Vec<usize> = (0..2_000).rev().collect();
    assert_eq!(ids(&[]), all);
    let chosen = |taken: fn(&usize) -> bool| all.iter().copied().filter(taken).collect::<Vec<_>>();
    assert_eq!(
        ids(&["--reason", "poison"]),
        chosen(|n| n.is_multiple_of(3))
    );
    assert_eq!(
        ids(&[
            "--reason",
            "poison",
            "--reason",
            "model_fault",
            "--limit",
            "7"
        ]),
        all[..7]
    );
    assert_eq!(ids(&["--limit", "3"]), all[..3]);
    assert_eq!(ids(&["--older-than", "15h"]), chosen(|n| *n >= 1_500));
    assert_eq!(ids(&["--newer-than", "270m"]), chosen(|n| *n < 500));
    assert_eq!(
        ids(&[
            "--older-than",
            "2h",
            "--newer-than",
            "210m",
            "--reason",
            "poison",
            "--limit",
            "5"
        ]),
        [399, 396, 393, 390, 387]
    );
    assert_eq!(ids(&["--id", "5", "--id", "1999"]), [1_999, 5]);
    assert_eq!(ids(&["--reason", "nothing"]), Vec::<usize>::new());
    assert_eq!(dead(&url, &["show", "fraud", "0"]).code, 0);
    dead(&url, &["show", "fraud", "2000"])
        .failed(65, &["no letter", "2000 letters", "inferq dead list fraud"]);

    dead(&url, &["purge", "fraud", "--reason", "poison"])
        .failed(64, &["667 letters", "would be removed", "--yes"]);
    assert_eq!(ids(&[]), all);
    let done = dead(
        &url,
        &[
            "purge",
            "fraud",
            "--reason",
            "poison",
            "--older-than",
            "10h",
            "--yes",
        ],
    );
    assert_eq!(
        (done.code, done.out.as_str()),
        (0, "removed 333 letters\n"),
        "{}",
        done.err
    );
    let rest = chosen(|n| !(n.is_multiple_of(3) && *n >= 1_000));
    client
        .until_ready("inferq.dead.fraud", rest.len() as u32)
        .await;
    let left = client.drain("inferq.dead.fraud").await;
    let left: Vec<usize> = left
        .iter()
        .map(|letter| String::from_utf8_lossy(&letter.data).parse().unwrap())
        .collect();
    assert_eq!(left, rest, "in order");
    let done = dead(&url, &["purge", "fraud"]);
    assert_eq!((done.code, done.out.as_str()), (0, "removed 0 letters\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_with_the_permissions_of_the_readme_may_do_all_of_it() {
    let (url, client) = fraud().await;
    let user = url.rsplit('/').next().unwrap();
    let node = Node::shared();
    node.ctl(&["add_user", user, "secret"]);
    let allow = |write: &str, read: &str| {
        node.ctl(&["set_permissions", "-p", user, user, "^$", write, read]);
    };
    let theirs = url.replace("guest:guest", &format!("{user}:secret"));
    let letters = |name: &str| {
        (
            marked(properties(name), "poison", None).with_reply_to("r".into()),
            b"{}".to_vec(),
        )
    };
    client
        .publish(
            "inferq.dead",
            "fraud",
            vec![letters("a"), letters("b"), letters("c")],
        )
        .await;
    let passive = |args: &[&str]| {
        let mut command = inferq(&[&["dead"], args, &["--broker-url", &theirs]].concat());
        Done::of(
            &command
                .env("INFERQ__BROKER__TOPOLOGY", "passive")
                .output()
                .unwrap(),
        )
    };
    allow("^$", "^$");
    passive(&["list", "fraud"]).failed(
        69,
        &["inferq.dead.fraud", r"read permission for ^inferq\.dead\."],
    );
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for pattern in [r"`^inferq\.dead\.`", "`^inferq$`"] {
        assert!(
            readme.contains(pattern),
            "the README does not name {pattern}"
        );
    }
    allow("^$", r"^inferq\.dead\.");
    assert_eq!(passive(&["list", "fraud"]).out.lines().count(), 5);
    assert_eq!(passive(&["show", "fraud", "b"]).code, 0);
    assert_eq!(
        passive(&["purge", "fraud", "--id", "a", "--yes"]).out,
        "removed 1 letter\n"
    );
    passive(&["replay", "fraud"]).failed(69, &["refused", "are where they were"]);
    client.until_ready("inferq.dead.fraud", 2).await;
    allow("^inferq$", r"^inferq\.dead\.");
    assert_eq!(passive(&["replay", "fraud"]).out, "replayed 2 letters\n");
    client.until_ready("inferq.fraud", 2).await;
}

#[test]
fn nothing_dead_is_no_error_and_no_broker_is_69() {
    let url = vhost();
    let done = dead(&url, &["list", "fraud"]);
    assert_eq!((done.code, done.out.as_str()), (0, "0 letters\n"));
    assert!(
        done.err.contains("no queue for dead letters of fraud"),
        "{}",
        done.err
    );
    assert_eq!(
        dead(&url, &["list", "fraud", "--json"]).lines(),
        [] as [Value; 0]
    );
    assert_eq!(dead(&url, &["replay", "fraud"]).out, "replayed 0 letters\n");
    assert_eq!(
        dead(&url, &["purge", "fraud", "--json"]).lines(),
        [json!({"removed": 0})]
    );
    dead(&url, &["show", "fraud", "x"]).failed(65, &["0 letters"]);
    for args in [
        &["list", "fraud"][..],
        &["show", "fraud", "x"],
        &["replay", "fraud"],
        &["purge", "fraud", "--yes"],
    ] {
        dead("amqp://127.0.0.1:1", args).failed(69, &["no broker at 127.0.0.1:1"]);
    }
    dead(&url, &["list", "retry"]).failed(64, &["reserved"]);
    dead(&url, &["list", "fraud", "--older-than", "1y"]).failed(64, &["90s or 1h"]);
    dead(&url, &["replay", "fraud", "--reply-to", "inferq.fraud"])
        .failed(64, &["inferq's own queues"]);
    dead(
        &url,
        &["replay", "fraud", "--reply-to", "amq.rabbitmq.reply-to"],
    )
    .failed(64, &["name a queue"]);
}
