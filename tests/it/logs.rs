//! What a worker logs: readable by machines, and nothing of any request.

use std::path::Path;

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, LongString},
};
use serde_json::{Value, json};

use crate::{
    cli::{Packages, sample},
    node::Node,
    raw::{self, RawConnection},
    worker::Worker,
};

/// Stands in every place of a request that a producer can write to.
const MARKER: &str = "zebra7marker";

/// Bodies with the marker: valid, and wrong at every step.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let good: Value =
        serde_json::from_slice(&std::fs::read(sample("fraud/not-fraud-1.json")).unwrap()).unwrap();
    let with = |pointer: &str, value: Value| {
        let mut request = good.clone();
        *request.pointer_mut(pointer).unwrap() = value;
        request
    };
    let mut requests = [
        with("/transaction_id", MARKER.into()),
        with("/amount", MARKER.into()),
        with("/currency", MARKER.into()),
        with("/time", MARKER.into()),
        with("/sender/ip", MARKER.into()),
        json!({ MARKER: MARKER }),
        json!([MARKER]),
        json!(MARKER),
    ];
    requests[0][MARKER] = MARKER.into();
    let msgpack: Vec<_> = requests
        .iter()
        .map(|request| ("application/msgpack", rmp_serde::to_vec(request).unwrap()))
        .collect();
    let text = requests
        .iter()
        .map(|request| ("application/json", request.to_string().into_bytes()));
    let broken = format!("{{\"amount\": \"{MARKER}\", {MARKER}");
    let mut bodies: Vec<_> = text.chain(msgpack).collect();
    bodies.push(("application/json", broken.clone().into_bytes()));
    bodies.push(("application/msgpack", broken.clone().into_bytes()));
    bodies.push(("image/png", broken.clone().into_bytes()));
    bodies.push((MARKER, broken.into_bytes()));
    bodies
}

fn headers() -> FieldTable {
    let mut headers = FieldTable::default();
    for key in [
        "inferq-accept",
        "traceparent",
        "tracestate",
        "inferq-user-id",
        MARKER,
    ] {
        headers.insert(key.into(), AMQPValue::LongString(LongString::from(MARKER)));
    }
    headers
}

/// Properties with the marker wherever it may stand.
fn properties(content_type: &str, reply_to: Option<&str>) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_content_type(content_type.into())
        .with_correlation_id(MARKER.into())
        .with_message_id(MARKER.into())
        .with_type(MARKER.into())
        .with_app_id(MARKER.into())
        .with_headers(headers());
    match reply_to {
        Some(queue) => properties.with_reply_to(queue.into()),
        None => properties,
    }
}

async fn publish(channel: &Channel, key: &str, body: &[u8], properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    let published = channel.basic_publish("inferq".into(), key.into(), options, body, properties);
    // Unconfirmed, the last of them may be lost as the channel closes.
    published.await.unwrap().await.unwrap();
}

/// Publishes everything; how many messages that were.
async fn provoke(url: &str) -> u64 {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = ConfirmSelectOptions::default();
    channel.confirm_select(options).await.unwrap();
    let mut count = 0;
    for (content_type, body) in bodies() {
        // A queue that is not there, so that the reply with its content comes back; and nowhere at all.
        for reply_to in [Some(MARKER), None] {
            publish(&channel, "fraud", &body, properties(content_type, reply_to)).await;
            count += 1;
        }
    }
    let body = MARKER.as_bytes();
    publish(
        &channel,
        MARKER,
        body,
        properties("application/json", Some(MARKER)),
    )
    .await;
    for odd in ["content_encoding", "version", "deadline"] {
        let mut properties = properties("application/json", Some(MARKER));
        let mut headers = headers();
        let marker = AMQPValue::LongString(LongString::from(MARKER));
        if odd == "content_encoding" {
            properties = properties.with_content_encoding(MARKER.into());
        } else {
            headers.insert(format!("inferq-{odd}").into(), marker);
        }
        publish(&channel, "fraud", body, properties.with_headers(headers)).await;
        count += 1;
    }
    channel.close(200, "bye".into()).await.unwrap();
    count + 1
}

/// A message whose correlation id is the marker and a byte that is not UTF-8.
fn provoke_raw(port: u16) {
    let mut raw = RawConnection::open(port).unwrap();
    let id = [MARKER.as_bytes(), b"\xff"].concat();
    // correlation_id, reply_to
    let properties = [
        vec![0b0000_0110, 0b0000_0000],
        raw::short(&id),
        raw::short(MARKER.as_bytes()),
    ]
    .concat();
    raw.publish(b"inferq", b"fraud", &properties, MARKER.as_bytes())
        .unwrap();
    raw.finish().unwrap();
}

fn settled(worker: &Worker) -> u64 {
    let status = worker.status();
    let queues = status["broker"]["queues"].as_array().unwrap();
    let of = |key: &str| -> u64 {
        queues
            .iter()
            .map(|queue| queue[key].as_u64().unwrap())
            .sum()
    };
    if of("in_hand") + of("held") > 0 {
        0
    } else {
        of("delivered")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_any_request_is_logged_whatever_the_filter() {
    let node = Node::start();
    let packages = Packages::of(&["fraud"]);
    let filter = "trace,lapin=trace,lapin::returned_messages=trace,amq_protocol=trace";
    let environment = [
        ("INFERQ__TELEMETRY__LOG_FILTER", filter),
        ("RUST_LOG", filter),
        ("INFERQ__INTAKE__RETRY_DELAYS_MS", "50"),
    ];
    let worker = Worker::spawn(&node.url(), Path::new(packages.path()), &environment);
    worker.await_ready();
    let count = provoke(&node.url()).await + 1;
    provoke_raw(node.port());
    worker.await_that("done with all of them", |worker| settled(worker) >= count);
    worker.signal("TERM");
    let mut worker = worker;
    assert!(worker.wait().success());
    let log = worker.log();
    assert!(
        log.contains("TRACE") && log.contains("a request goes to the dead letters"),
        "{log}"
    );
    let told: Vec<&str> = log.lines().filter(|line| line.contains(MARKER)).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    assert!(!log.contains("guest:guest"), "the password");
}

#[test]
fn every_line_of_the_json_format_is_one_json_object() {
    let packages = Packages::of(&["fraud"]);
    packages.changed("diagnosis", "format = 1", "format = 99");
    let environment = [("INFERQ__TELEMETRY__LOG_FORMAT", "json")];
    let url = crate::worker::vhost();
    let mut worker = Worker::spawn(&url, Path::new(packages.path()), &environment);
    worker.await_ready();
    worker.signal("TERM");
    assert!(worker.wait().success());
    let log = worker.log();
    let events: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    for event in &events {
        for key in ["timestamp", "level", "target", "message"] {
            assert!(event[key].is_string(), "no {key} in {event}");
        }
    }
    let find = |message: &str| {
        let mut found = events.iter().filter(|event| event["message"] == message);
        found
            .next()
            .unwrap_or_else(|| panic!("no {message} in {log}"))
    };
    assert_eq!(find("live")["package"], "fraud");
    assert!(
        find("a package did not go live")["fault"]
            .as_str()
            .unwrap()
            .contains("diagnosis/1.0.0")
    );
    assert!(find("serving")["admin"].is_string());
    find("drained");
}
