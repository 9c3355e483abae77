//! Replays that are killed, that nobody takes, and what they send.

use std::{collections::BTreeMap, os::unix::process::ExitStatusExt, thread};

use lapin::types::{AMQPValue, FieldTable};

use super::*;
use crate::faults::unix_ms;

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_again_and_again_loses_no_letter() {
    const LETTERS: usize = 4_000;
    let (url, client) = fraud().await;
    let letter = |n: usize| {
        let properties = properties(&n.to_string()).with_reply_to("replies".into());
        (
            marked(properties, "internal_fault", None),
            n.to_string().into_bytes(),
        )
    };
    client
        .publish("inferq.dead", "fraud", (0..LETTERS).map(letter).collect())
        .await;
    let (mut kills, mut published) = (Vec::new(), 0);
    for _ in 0..5 {
        // The binary itself: -9 must hit it and not who waits for it.
        let mut child = Command::new(env!("CARGO_BIN_EXE_inferq"))
            .args(["dead", "replay", "fraud", "--broker-url", &url])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let more = published + 300;
        client
            .until("inferq.fraud", "more requests", |ready| ready >= more)
            .await;
        child.kill().unwrap();
        assert_eq!(
            child.wait().unwrap().signal(),
            Some(9),
            "it was killed before it was done"
        );
        // Its connections end a little later than it.
        let settled = |(ready, all): &(u32, u32)| ready == all;
        let start = std::time::Instant::now();
        let left = loop {
            let counts = (
                client.ready("inferq.dead.fraud").await,
                messages(&url, "inferq.dead.fraud"),
            );
            if settled(&counts) && start.elapsed() > std::time::Duration::from_millis(200) {
                break counts.0;
            }
            assert!(
                start.elapsed() < crate::worker::BOUND,
                "letters in nobody's hand: {counts:?}"
            );
            thread::park_timeout(std::time::Duration::from_millis(20));
        };
        published = client.ready("inferq.fraud").await;
        assert!(left > 0, "in the middle");
        kills.push((published, left));
    }
    let done = dead(&url, &["replay", "fraud"]);
    assert_eq!(done.code, 0, "{}", done.err);
    client.until_ready("inferq.dead.fraud", 0).await;
    let mut found = BTreeMap::<usize, usize>::new();
    for request in client.stream("inferq.fraud").await {
        let number = String::from_utf8_lossy(&request.data).parse().unwrap();
        *found.entry(number).or_default() += 1;
    }
    let lost = (0..LETTERS).filter(|n| !found.contains_key(n)).count();
    let twice: usize = found.values().map(|count| count - 1).sum();
    eprintln!(
        "{LETTERS} letters; (published, left) at each kill -9: {kills:?}; lost {lost}, twice {twice}"
    );
    assert_eq!((lost, found.len()), (0, LETTERS));
}

/// Messages of a queue, in hand or not, as the broker counts them.
fn messages(url: &str, queue: &str) -> u32 {
    let vhost = url.rsplit('/').next().unwrap();
    let listed = Node::shared().ctl(&["list_queues", "-p", vhost, "name", "messages"]);
    let line = listed
        .lines()
        .find_map(|line| line.strip_prefix(queue))
        .unwrap();
    line.trim().parse().unwrap()
}

/// `kept` with what must go, `late` and `early` with deadlines, `own` that wants its reply in a queue of ours, and
/// `direct` in a channel that waits.
fn five_letters() -> Vec<(lapin::BasicProperties, Vec<u8>)> {
    let deaths = AMQPValue::FieldArray(Vec::new().into());
    let mut headers = FieldTable::default();
    headers.insert("x-death".into(), deaths);
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(3));
    headers.insert(
        "inferq-version".into(),
        AMQPValue::LongString("1.0.0".into()),
    );
    headers.insert("traceparent".into(), AMQPValue::LongString("00-1".into()));
    let kept = properties("kept")
        .with_headers(headers)
        .with_reply_to("first".into())
        .with_priority(3)
        .with_type("payment".into());
    let until = |id: &str, deadline| {
        let mut headers = FieldTable::default();
        headers.insert("inferq-deadline".into(), deadline);
        properties(id)
            .with_reply_to("first".into())
            .with_headers(headers)
    };
    // As pika sends a `datetime`, and as a number of ms.
    let ago = u64::try_from(unix_ms() / 1_000 - 5).unwrap();
    let late = until("late", AMQPValue::Timestamp(ago));
    let early = until("early", AMQPValue::LongLongInt(unix_ms() + 600_000));
    let mut letters: Vec<_> = [kept, late, early]
        .map(|properties| {
            (
                marked(properties, "internal_fault", None),
                b"\x00body".to_vec(),
            )
        })
        .into();
    letters.push((
        properties("own").with_reply_to("inferq.x".into()),
        Vec::new(),
    ));
    let direct = properties("direct").with_reply_to("amq.rabbitmq.reply-to.cGlk.a2V5".into());
    letters.push((direct, Vec::new()));
    letters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_request_is_the_original_without_what_was_noted_on_it() {
    let (url, client) = fraud().await;
    client.publish("inferq.dead", "fraud", five_letters()).await;

    let done = dead(&url, &["replay", "fraud", "--json"]);
    done.failed(
        64,
        &[
            "3 letters left",
            "direct reply-to); give --reply-to",
            "deadline has passed",
            "--deadline",
            "inferq's own queues",
        ],
    );
    let statuses = done
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut statuses: Vec<_> = statuses
        .map(|line| (line["id"].to_string(), line["status"].to_string()))
        .collect();
    statuses.sort();
    let expected = [
        ("direct", "left"),
        ("early", "replayed"),
        ("kept", "replayed"),
        ("late", "left"),
        ("own", "left"),
    ];
    assert_eq!(
        statuses,
        expected.map(|(id, status)| (format!("{id:?}"), format!("{status:?}")))
    );
    let requests = client.drain("inferq.fraud").await;
    let kept = requests
        .iter()
        .find(|request| request.properties.message_id().as_ref().unwrap().as_str() == "kept")
        .unwrap();
    assert_eq!(kept.data, b"\x00body");
    let properties = &kept.properties;
    assert_eq!(
        (properties.priority(), properties.delivery_mode()),
        (&Some(3), &Some(2))
    );
    assert_eq!(properties.kind().as_ref().unwrap().as_str(), "payment");
    assert_eq!(properties.reply_to().as_ref().unwrap().as_str(), "first");
    let names: Vec<_> = properties
        .headers()
        .as_ref()
        .unwrap()
        .inner()
        .keys()
        .map(ToString::to_string)
        .collect();
    // The queue counts its own deliveries: none before this one.
    assert_eq!(
        names,
        [
            "inferq-replayed",
            "inferq-version",
            "traceparent",
            "x-delivery-count"
        ]
    );
    let count = &properties.headers().as_ref().unwrap().inner()["x-delivery-count"];
    assert_eq!(count.as_long_long_int(), Some(0));

    let before = unix_ms();
    let done = dead(
        &url,
        &[
            "replay",
            "fraud",
            "--deadline",
            "2m",
            "--reply-to",
            "second",
        ],
    );
    assert_eq!(done.out, "replayed 3 letters\n", "{}", done.err);
    for request in client.drain("inferq.fraud").await {
        let headers = request.properties.headers().as_ref().unwrap();
        let deadline = headers.inner()["inferq-deadline"]
            .as_long_long_int()
            .unwrap();
        assert!(
            (before + 120_000..=unix_ms() + 120_000).contains(&deadline),
            "{deadline}"
        );
        assert_eq!(
            request.properties.reply_to().as_ref().unwrap().as_str(),
            "second"
        );
    }
    client.until_ready("inferq.dead.fraud", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_reply_to_is_replayed_where_its_package_has_one() {
    let (url, client) = fraud().await;
    client
        .publish(
            "inferq.dead",
            "fraud",
            vec![(marked(properties("a"), "poison", None), Vec::new())],
        )
        .await;
    let packages = Packages::of(&[]);
    packages.changed(
        "fraud",
        "name = \"fraud\"",
        "name = \"fraud\"\ndefault_reply_to = \"theirs\"",
    );
    let repository = ["replay", "fraud", "--repository", packages.path()];
    assert_eq!(dead(&url, &repository).out, "replayed 1 letter\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_stays_where_it_was_and_is_said() {
    let (url, client) = fraud().await;
    let letter = |id: &str| {
        (
            marked(properties(id).with_reply_to("r".into()), "poison", None),
            Vec::new(),
        )
    };
    client
        .publish("inferq.dead", "fraud", vec![letter("a"), letter("b")])
        .await;
    dead(&url, &["replay", "fraud", "--to", "other"])
        .failed(69, &["no queue inferq.other", "no letter was touched"]);
    // The queue is there, and nothing leads to it or to inferq.unknown.
    let (none, unbind) = (FieldTable::default, "inferq.fraud");
    client
        .channel
        .queue_unbind(unbind.into(), "inferq".into(), "fraud".into(), none())
        .await
        .unwrap();
    client
        .channel
        .queue_unbind(
            "inferq.unknown".into(),
            "inferq.unknown".into(),
            "".into(),
            none(),
        )
        .await
        .unwrap();
    let done = dead(&url, &["replay", "fraud"]);
    done.failed(
        69,
        &[
            "left 2 letters",
            "no queue takes messages",
            "left where they were",
        ],
    );
    assert_eq!(done.out, "replayed 0 letters\n");
    assert_eq!(listed(&url, "id", &[]), ["a", "b"]);
    assert_eq!(client.ready("inferq.fraud").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_letters_are_looked_at_a_few_at_a_time() {
    const SIZE: usize = 4 << 20;
    let (url, client) = fraud().await;
    for n in 0..100 {
        let letter = (
            marked(properties(&n.to_string()), "poison", None),
            vec![b' '; SIZE],
        );
        client.publish("inferq.dead", "fraud", vec![letter]).await;
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_inferq"))
        .args(["dead", "list", "fraud", "--broker-url", &url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut peak, status) = (0, format!("/proc/{}/status", child.id()));
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        thread::park_timeout(std::time::Duration::from_millis(5));
    }
    let done = Done::of(&child.wait_with_output().unwrap());
    assert_eq!(done.out.lines().last(), Some("100 letters: poison 100"));
    eprintln!("100 letters of 4 MiB are listed within {} MiB", peak / 1024);
    assert!(peak > 1024 && peak < 200 * 1024, "{peak} KiB");
}
