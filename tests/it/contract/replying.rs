//! Where replies go, and where they cannot.

use futures::StreamExt;
use lapin::{
    BasicProperties,
    options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::{Value, json};

use super::{
    assert_at_rest,
    case::Case,
    client,
    clients::{CLIENTS, hold},
    dead_letters, payment, reply_queue, take,
};
use crate::worker::{Worker, samples, vhost};

const DIRECT: &str = "amq.rabbitmq.reply-to";

fn to(name: &str, reply_to: Value) -> Case {
    Case::object(name, "fraud", payment()).with("reply_to", reply_to)
}

async fn publish(channel: &lapin::Channel, body: &[u8], properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("inferq".into(), "fraud".into(), options, body, properties);
    sent.await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_answered_are_dead_lettered_with_the_reason_and_hold_nobody_up() {
    let url = vhost();
    let worker = Worker::start(&url, &samples());
    let forbidden = [
        "inferq",
        "inferq.fraud",
        "inferq.dead",
        "inferq.dead.fraud",
        "inferq.unknown",
        "inferq.theirs",
    ];
    let long = format!("not-there-{}", "q".repeat(245));
    let missing = ["not-there", "amq.direct", "ä", &long];
    let mut cases = vec![to("none", Value::Null), to("empty", json!(""))];
    cases.extend(
        forbidden
            .into_iter()
            .chain(missing)
            .map(|name| to(name, json!(name))),
    );
    cases.push(to("forged", json!(format!("{DIRECT}.forged"))));
    cases.push(Case::object("neighbour", "fraud", payment()));
    for client in CLIENTS {
        let replies = super::clients::Conversation::start(client, &url, &cases).replies();
        assert_eq!(replies.keys().collect::<Vec<_>>(), ["neighbour"]);
    }
    // nobody to answer, and no such package either
    let nobody = Case::object("nobody", "nobody", payment()).with("reply_to", Value::Null);
    super::clients::Conversation::start("pika", &url, &[nobody]).replies();
    let mut expected = [
        vec!["no_reply_to"; 4],
        vec!["reply_to_forbidden"; 12],
        vec!["reply_to_malformed"; 2],
        vec!["reply_undeliverable"; 8],
    ]
    .concat();
    let mut found = dead_letters(&url, "fraud", expected.len()).await;
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(dead_letters(&url, "unknown", 1).await, ["no_reply_to"]);
    let undeliverable = worker.metric("inferq_replies_unroutable_total{package=\"fraud\"}");
    assert!((7.5..8.5).contains(&undeliverable), "{undeliverable}");
    assert_at_rest(&worker, &url);
    hold(
        "pika",
        &url,
        &[Case::object("afterwards", "fraud", payment())],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requesters_of_direct_reply_to_who_are_gone_cost_no_run_and_hold_nobody_up() {
    let url = vhost();
    let worker = Worker::start(&url, &samples());
    worker.signal("STOP");
    {
        let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let consumed =
            channel.basic_consume(DIRECT.into(), "gone".into(), options, FieldTable::default());
        let _replies = consumed.await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        for _ in 0..20 {
            let properties = BasicProperties::default().with_reply_to(DIRECT.into());
            publish(&channel, payment().to_string().as_bytes(), properties).await;
        }
        connection.close(200, "gone".into()).await.unwrap();
    }
    worker.signal("CONT");
    worker.await_that("done with what nobody waits for", |worker| {
        let code = "inferq_rejections_total{code=\"deadline_exceeded\"";
        worker.metric(code) >= 20.0
    });
    assert_eq!(runs(&worker), 0, "device time for nobody");
    hold(
        "pika",
        &url,
        &[Case::object("neighbour", "fraud", payment()).direct(true)],
    );
    assert_eq!(runs(&worker), 1);
    assert_at_rest(&worker, &url);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_request_that_finds_no_package_becomes_a_dead_letter_again() {
    let url = vhost();
    let worker = Worker::start(&url, &samples());
    let channel = client(&url).await;
    reply_queue(&channel, "replies").await;
    let mut headers = FieldTable::default();
    headers.insert("inferq-replayed".into(), AMQPValue::LongLongInt(1));
    let properties = BasicProperties::default()
        .with_reply_to("replies".into())
        .with_headers(headers);
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("inferq".into(), "gone".into(), options, b"1", properties);
    sent.await.unwrap().await.unwrap();
    assert_eq!(
        dead_letters(&url, "unknown", 1).await,
        ["unknown_package"],
        "its body is nowhere else"
    );
    assert_eq!(
        take(&channel, "replies", 1).await.len(),
        1,
        "and it is answered"
    );
    assert_at_rest(&worker, &url);
}

/// Batches that were run for requests.
fn runs(worker: &Worker) -> u64 {
    worker.metric("inferq_batch_rows_count").round() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replies_to_one_request_have_one_message_id_and_other_requests_have_others() {
    let url = vhost();
    let mut worker = Worker::start(&url, &samples());
    let channel = client(&url).await;
    reply_queue(&channel, "replies").await;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let request = BasicProperties::default()
        .with_reply_to("replies".into())
        .with_message_id("m-1".into())
        .with_delivery_mode(2);
    let body = payment().to_string();
    let mut ids = Vec::new();
    let other_body = format!("{body} ");
    for (body, properties) in [
        (&body, request.clone()),
        (&body, request.clone()),
        (&other_body, request.clone()),
        (&body, request.clone().with_message_id("m-2".into())),
    ] {
        publish(&channel, body.as_bytes(), properties).await;
        let reply = take(&channel, "replies", 1).await.remove(0);
        ids.push(reply.properties.message_id().clone().unwrap().to_string());
    }
    // the same request again; this time it expires in the queue
    worker.signal("TERM");
    assert!(worker.wait().success());
    publish(
        &channel,
        body.as_bytes(),
        request.with_expiration("1".into()),
    )
    .await;
    let worker = Worker::start(&url, &samples());
    let late = take(&channel, "replies", 1).await.remove(0);
    ids.push(late.properties.message_id().clone().unwrap().to_string());
    assert_eq!(
        late.properties.kind().as_ref().unwrap().as_str(),
        "rejection"
    );

    let same = |id: &String| *id == ids[0];
    assert_eq!(
        ids.iter().map(same).collect::<Vec<_>>(),
        [true, true, false, false, true],
        "{ids:?}"
    );
    assert_ne!(ids[2], ids[3]);
    assert_at_rest(&worker, &url);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_queue_with_a_name_of_255_bytes_gets_its_reply() {
    let url = vhost();
    let _worker = Worker::start(&url, &samples());
    let channel = client(&url).await;
    let name = "r".repeat(255);
    reply_queue(&channel, &name).await;
    let replies = channel.basic_consume(
        (&*name).into(),
        "here".into(),
        BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        },
        FieldTable::default(),
    );
    let mut replies = replies.await.unwrap();
    let id = "c".repeat(255);
    let properties = BasicProperties::default()
        .with_reply_to((&*name).into())
        .with_correlation_id((&*id).into());
    publish(&channel, payment().to_string().as_bytes(), properties).await;
    let reply = replies.next().await.unwrap().unwrap();
    assert_eq!(
        reply.properties.correlation_id().as_ref().unwrap().as_str(),
        id
    );
    assert_eq!(
        reply.properties.kind().as_ref().unwrap().as_str(),
        "outcome"
    );
}

#[test]
fn a_package_name_of_300_bytes_is_bad_usage_of_send() {
    let url = vhost();
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/compose/samples/fraud/not-fraud-1.json"
    );
    let sent = std::process::Command::new(env!("CARGO_BIN_EXE_inferq"))
        .args(["send", &"p".repeat(300), file, "--broker-url", &url])
        .output()
        .unwrap();
    let told = String::from_utf8(sent.stderr).unwrap();
    assert_eq!(sent.status.code(), Some(64), "{told}");
    assert!(told.contains("300 bytes") && told.contains("255"), "{told}");
}
