//! Faults that pass, faults that do not, and what is kept of a request meanwhile.

use std::{process::Command, sync::Arc};

use inferq::{
    broker::{Broker, ConsumeOptions, PackageQueues, Topology},
    engine::Engine,
    intake::{Config, Intake, Source},
};
use lapin::{
    BasicProperties,
    message::Delivery,
    options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldArray, FieldTable},
};

use super::{
    Client, Packages, delivery_count, header, header_number, header_text, labour, properties,
    request, unix_ms, with_header,
};
use crate::worker::{Worker, vhost};

/// Time enough to exchange a worker.
const RETRY: (&str, &str) = ("INFERQ__INTAKE__RETRY_DELAYS_MS", "[3000]");

/// Everything that a producer may say, and some of it that must not be repeated.
fn ornate(id: &str) -> BasicProperties {
    let mut properties = properties(id)
        .with_priority(3)
        .with_app_id("till".into())
        .with_timestamp(1_700_000_000)
        .with_user_id("guest".into())
        .with_expiration("600000".into());
    let cc = FieldArray::from(vec![AMQPValue::LongString("elsewhere".into())]);
    for (key, value) in [
        (
            "traceparent",
            AMQPValue::LongString("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        ),
        ("inferq-deadline", AMQPValue::LongLongInt(4_000_000_000_000)),
        ("x-delivery-count", AMQPValue::LongLongInt(17)),
        ("x-mine", AMQPValue::Boolean(true)),
        ("mine", AMQPValue::Boolean(true)),
        ("CC", AMQPValue::FieldArray(cc)),
    ] {
        properties = with_header(properties, key, value);
    }
    properties
}

/// What a copy keeps, what it must not, and what it says of the tries.
fn assert_copy(copy: &Delivery, id: &str, body: &str, attempts: i64, reason: &str) {
    assert_eq!(copy.data, body.as_bytes());
    let p = &copy.properties;
    let text = |part: &Option<lapin::types::ShortString>| part.as_ref().map(ToString::to_string);
    assert_eq!(text(p.correlation_id()).as_deref(), Some(id));
    assert_eq!(text(p.message_id()).as_deref(), Some(id));
    assert_eq!(text(p.reply_to()).as_deref(), Some("replies"));
    assert_eq!(text(p.content_type()).as_deref(), Some("application/json"));
    assert_eq!(text(p.app_id()).as_deref(), Some("till"));
    assert_eq!(
        (*p.priority(), *p.timestamp()),
        (Some(3), Some(1_700_000_000))
    );
    assert_eq!(*p.delivery_mode(), Some(2));
    assert_eq!((p.user_id(), p.expiration()), (&None, &None));
    assert_eq!(header(p, "mine"), Some(&AMQPValue::Boolean(true)));
    assert!(header_text(p, "traceparent").is_some());
    assert_eq!(header_text(p, "inferq-user-id").as_deref(), Some("guest"));
    assert_eq!(header_number(p, "inferq-deadline"), Some(4_000_000_000_000));
    for key in ["CC", "x-mine", "x-death"] {
        assert_eq!(header(p, key), None, "{key}");
    }
    assert_eq!(delivery_count(copy), 0);
    assert_eq!(header_number(p, "inferq-attempts"), Some(attempts));
    let (first, now) = (header_number(p, "inferq-first-at"), unix_ms());
    assert!(first.is_some_and(|at| (now - 60_000..=now).contains(&at)));
    assert_eq!(header_text(p, "inferq-reason").as_deref(), Some(reason));
}

/// A copy of everything that goes into a retry queue of three seconds or thereabouts.
async fn watch_retries(client: &Client) -> &'static str {
    let options = QueueDeclareOptions::default();
    let declaring = client
        .channel
        .queue_declare("watch".into(), options, FieldTable::default());
    declaring.await.unwrap();
    for ms in settings().retry_queues_ms() {
        let exchange = format!("inferq.retry.{ms}");
        let options = QueueBindOptions::default();
        let binding = client.channel.queue_bind(
            "watch".into(),
            exchange.as_str().into(),
            "".into(),
            options,
            FieldTable::default(),
        );
        binding.await.unwrap();
    }
    "watch"
}

fn settings() -> Config {
    Config {
        retry_delays_ms: vec![3_000],
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_only_another_worker_has_is_answered_on_the_second_try() {
    let (url, old) = (vhost(), labour());
    let new = labour().with_labour("2.0.0");
    let mut behind = Worker::spawn(&url, old.path(), &[RETRY]);
    behind.await_ready();
    let mut client = Client::connect(&url).await;
    let watch = watch_retries(&client).await;
    let pinned = with_header(
        ornate("pinned"),
        "inferq-version",
        AMQPValue::LongString("2.0.0".into()),
    );
    client.send("labour", pinned, &request(5, 1)).await;
    client.until_ready(watch, 1).await;
    behind.signal("TERM");
    assert!(behind.wait().success());
    let ahead = Worker::spawn(&url, new.path(), &[RETRY]);
    ahead.await_ready();
    client.until_answered(1).await;
    let answer = client.answer("pinned");
    assert_eq!(
        (answer.code(), answer.version.as_deref()),
        ("outcome", Some("2.0.0"))
    );
    let copies = client.drain(watch).await;
    assert_eq!(copies.len(), 1);
    assert_copy(
        &copies[0],
        "pinned",
        &request(5, 1).to_string(),
        1,
        "unknown_version",
    );

    // A version that nobody has is said to be unknown, after as many tries.
    let missing = with_header(
        properties("missing"),
        "inferq-version",
        AMQPValue::LongString("3.0.0".into()),
    );
    client.send("labour", missing, &request(5, 1)).await;
    client.until_answered(2).await;
    assert_eq!(client.answer("missing").code(), "unknown_version");
    assert_eq!(client.drain(watch).await.len(), 1);
    assert_eq!(client.duplicates(), 0);
}

/// A worker in this process whose sessions have ended: every request meets an internal fault.
async fn broken_worker(
    url: &str,
    packages: &Packages,
) -> (Arc<Broker>, inferq::broker::ConsumerHandle) {
    let engine = Engine::open(packages.path(), None).unwrap();
    let config = inferq::broker::Config {
        url: url.to_owned().into(),
        ..Default::default()
    };
    let broker = Arc::new(Broker::start(config));
    let package = PackageQueues {
        name: "labour".into(),
        high: false,
    };
    let topology = Topology {
        packages: vec![package],
        retry_ms: settings().retry_queues_ms(),
    };
    broker.establish(&topology).await.unwrap();
    let intake = Intake::new(
        engine.clone(),
        Arc::clone(&broker),
        settings(),
        "broken".into(),
    );
    engine.close().await;
    let handler = intake.handler(Source::Package("labour".into()));
    let handle = broker.consume(
        "inferq.labour",
        ConsumeOptions {
            prefetch_max: 16,
            ..ConsumeOptions::default()
        },
        handler,
    );
    (broker, handle)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_passes_is_answered_on_the_second_try_and_one_that_does_not_is_a_dead_letter()
{
    let (url, packages) = (vhost(), labour());
    let (broker, handle) = broken_worker(&url, &packages).await;
    let mut client = Client::connect(&url).await;
    let watch = watch_retries(&client).await;

    // Both tries meet the fault.
    client.send("labour", ornate("spent"), &request(6, 1)).await;
    client.until_answered(1).await;
    let answer = client.answer("spent");
    assert_eq!(answer.code(), "internal_fault");
    assert_eq!(answer.body["retryable"], true);
    client.until_ready("inferq.dead.labour", 1).await;
    let (copies, letters) = (
        client.drain(watch).await,
        client.drain("inferq.dead.labour").await,
    );
    assert_eq!((copies.len(), letters.len()), (1, 1));
    let body = request(6, 1).to_string();
    assert_copy(&copies[0], "spent", &body, 1, "internal_fault");
    assert_copy(&letters[0], "spent", &body, 2, "internal_fault");
    let first_at = |copy: &Delivery| header_number(&copy.properties, "inferq-first-at");
    assert_eq!(first_at(&copies[0]), first_at(&letters[0]));
    assert_eq!(
        header_text(&letters[0].properties, "inferq-worker").as_deref(),
        Some("broken")
    );

    // Nobody waits for a try that would come too late.
    let soon = AMQPValue::LongLongInt(unix_ms() + 2_000);
    let hurried = with_header(ornate("hurried"), "inferq-deadline", soon);
    client.send("labour", hurried, &request(6, 1)).await;
    client.until_answered(2).await;
    assert_eq!(client.answer("hurried").code(), "internal_fault");
    client.until_ready("inferq.dead.labour", 1).await;
    let letters = client.drain("inferq.dead.labour").await;
    let attempts = header_number(&letters[0].properties, "inferq-attempts");
    assert_eq!((attempts, client.ready(watch).await), (Some(1), 0));

    // The second try is a sound worker's.
    client
        .send("labour", ornate("passing"), &request(7, 1))
        .await;
    client.until_ready(watch, 1).await;
    handle.drain().await;
    handle.close().await;
    broker.close().await;
    let sound = Worker::spawn(&url, packages.path(), &[RETRY]);
    sound.await_ready();
    client.until_answered(3).await;
    let answer = client.answer("passing");
    assert_eq!(
        (answer.code(), answer.body["y"].as_u64()),
        ("outcome", Some(7))
    );
    assert_eq!(client.duplicates(), 0);
    assert_eq!(client.ready("inferq.dead.labour").await, 0);
}

async fn delete_retry_queues(client: &Client) {
    for ms in Config::default().retry_queues_ms() {
        let queue = format!("inferq.retry.{ms}");
        let deleting = client
            .channel
            .queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
        deleting.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_queue_that_was_deleted_is_made_again_by_the_request_that_needs_it() {
    let (url, packages) = (vhost(), labour());
    let _worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    delete_retry_queues(&client).await;
    let missing = with_header(
        properties("missing"),
        "inferq-version",
        AMQPValue::LongString("3.0.0".into()),
    );
    client.send("labour", missing, &request(5, 1)).await;
    client.until_answered(1).await;
    assert_eq!(client.answer("missing").code(), "unknown_version");
}

/// A worker that may not make what is missing; at first all is there.
fn passive_worker(url: &str, packages: &Packages) -> Worker {
    declare(url, packages);
    let passive = [("INFERQ__BROKER__TOPOLOGY", "passive")];
    let worker = Worker::spawn(url, packages.path(), &passive);
    worker.await_ready();
    worker
}

fn declare(url: &str, packages: &Packages) {
    let mut declaring = Command::new(env!("CARGO_BIN_EXE_inferq"));
    declaring.args(["topology", "declare", "--broker-url", url, "--repository"]);
    let declared = declaring.arg(packages.path()).output().unwrap();
    assert!(declared.status.success(), "{declared:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_no_queue_takes_keeps_its_request_in_hand_and_the_worker_says_so() {
    let (url, packages) = (vhost(), labour());
    let worker = passive_worker(&url, &packages);
    let mut client = Client::connect(&url).await;
    // At first there is credit for one delivery, and that one would stay.
    client.send_all("labour", super::numbered(0..40, 1)).await;
    client.until_answered(40).await;
    let dead = "inferq.dead.labour";
    let options = QueueDeleteOptions::default();
    client
        .channel
        .queue_delete(dead.into(), options)
        .await
        .unwrap();
    let homeless = properties("homeless").with_reply_to("".into());
    client.send("labour", homeless, &request(5, 1)).await;
    worker.await_that("not ready", |worker| {
        worker.get("/readyz").is_some_and(|(code, text)| {
            code == 503 && text.contains("1 requests of queue inferq.labour are kept")
        })
    });
    // The others are none the worse for it.
    client
        .send("labour", properties("other"), &request(7, 1))
        .await;
    client.until_answered(41).await;
    assert_eq!(client.answer("other").code(), "outcome");

    declare(&url, &packages);
    client.until_ready(dead, 1).await;
    worker.await_ready();
    let letters = client.drain(dead).await;
    let reason = header_text(&letters[0].properties, "inferq-reason");
    assert_eq!(reason.as_deref(), Some("no_reply_to"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_no_queue_takes_is_a_reply_and_a_dead_letter_with_its_own_reason() {
    let (url, packages) = (vhost(), labour());
    let worker = passive_worker(&url, &packages);
    let mut client = Client::connect(&url).await;
    delete_retry_queues(&client).await;
    let pinned = |id: &str| {
        let pin = AMQPValue::LongString("3.0.0".into());
        with_header(ornate(id), "inferq-version", pin)
    };
    let body = request(5, 1);
    client.send("labour", pinned("answered"), &body).await;
    client.until_answered(1).await;
    assert_eq!(client.answer("answered").code(), "unknown_version");
    let nobody = pinned("unheard").with_reply_to("nobody".into());
    client.send("labour", nobody, &body).await;
    let dead = "inferq.dead.labour";
    client.until_ready(dead, 2).await;
    let letters = client.drain(dead).await;
    let told = |key: &str| {
        let texts = letters.iter().map(|l| header_text(&l.properties, key));
        texts.collect::<Vec<_>>()
    };
    let both = |text: &str| vec![Some(text.to_owned()); 2];
    assert_eq!(told("inferq-reason"), both("unknown_version"));
    assert_eq!(told("inferq-stage"), both("resolve"));
    let undeliverable = Some("undeliverable".to_owned());
    assert_eq!(told("inferq-reply"), [None, undeliverable]);
    assert!(worker.metric("inferq_retries_total") < 0.5, "none was kept");
}
