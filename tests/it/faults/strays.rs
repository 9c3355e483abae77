//! Properties and headers that lead astray: to somebody else's queue, to a package that is none.

use lapin::{
    message::Delivery,
    options::{BasicPublishOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldArray, FieldTable},
};
use serde_json::json;

use super::{Client, header_text, labour, properties, request, with_header};
use crate::{
    node::Node,
    raw::{RawConnection, short},
    worker::{Worker, vhost},
};

fn reason(letter: &Delivery) -> Option<String> {
    header_text(&letter.properties, "inferq-reason")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_that_is_not_utf8_is_dead_lettered_and_nobody_elses_queue_gets_a_reply() {
    let (url, packages) = (vhost(), labour());
    let _worker = Worker::start(&url, packages.path());
    let client = Client::connect(&url).await;
    let options = QueueDeclareOptions::default();
    let victim = client
        .channel
        .queue_declare("my?reply".into(), options, FieldTable::default());
    victim.await.unwrap();
    let vhost = url.rsplit('/').next().unwrap();
    let mut raw = RawConnection::open_in(Node::shared().port(), vhost).unwrap();
    let properties = [&[0x02, 0][..], &short(b"my\xffreply")].concat();
    let body = request(1, 1).to_string();
    for package in ["labour", "nobody"] {
        raw.publish(b"inferq", package.as_bytes(), &properties, body.as_bytes())
            .unwrap();
    }
    raw.finish().unwrap();
    for queue in ["inferq.dead.labour", "inferq.dead.unknown"] {
        client.until_ready(queue, 1).await;
        let letters = client.drain(queue).await;
        assert_eq!(reason(&letters[0]).as_deref(), Some("reply_to_malformed"));
        // or whoever sends it again would reply there
        let reply_to = letters[0].properties.reply_to().as_ref();
        assert_eq!(reply_to.map_or("", |name| name.as_str()), "");
    }
    assert_eq!(client.ready("my?reply").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_an_unknown_package_that_expired_is_answered_under_the_name_it_asked_for() {
    let (url, packages) = (vhost(), labour());
    let mut worker = Worker::start(&url, packages.path());
    worker.signal("TERM");
    assert!(worker.wait().success());
    let mut client = Client::connect(&url).await;
    let late = properties("late").with_expiration("1".into());
    client.send("nobody", late, &json!({})).await;
    client.until_ready("inferq.died", 1).await;
    let _worker = Worker::start(&url, packages.path());
    client.until_answered(1).await;
    let answer = client.answer("late");
    assert_eq!(answer.code(), "deadline_exceeded");
    assert_eq!(answer.body["package"], "nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_death_makes_no_queue_of_its_own() {
    let (url, packages) = (vhost(), labour());
    let _worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    let mut death = FieldTable::default();
    let long = format!("inferq.{}", "z".repeat(100));
    for (key, text) in [("queue", long.as_str()), ("reason", "delivery_limit")] {
        death.insert(key.into(), AMQPValue::LongString(text.into()));
    }
    let deaths = FieldArray::from(vec![AMQPValue::FieldTable(death)]);
    let forged = with_header(
        properties("forged"),
        "x-death",
        AMQPValue::FieldArray(deaths),
    );
    let options = BasicPublishOptions::default();
    let publishing =
        client
            .channel
            .basic_publish("inferq.died".into(), "x".into(), options, b"{}", forged);
    assert!(publishing.await.unwrap().await.unwrap().is_ack());
    client.until_answered(1).await;
    assert_eq!(client.answer("forged").code(), "model_fault");
    assert_eq!(client.answer("forged").body["package"], "died");
    client.until_ready("inferq.dead.died", 1).await;
    let queues =
        Node::shared().ctl(&["list_queues", "-p", url.rsplit('/').next().unwrap(), "name"]);
    assert!(
        queues.contains("inferq.dead.died") && !queues.contains("zzz"),
        "{queues}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_counted_as_they_leave_and_as_they_come_back() {
    let (url, packages) = (vhost(), labour());
    let delay = ("INFERQ__INTAKE__RETRY_DELAYS_MS", "50");
    let worker = Worker::spawn(&url, packages.path(), &[delay]);
    worker.await_ready();
    let mut client = Client::connect(&url).await;
    let version = AMQPValue::LongString("9.9.9".into());
    let pinned = with_header(properties("pinned"), "inferq-version", version);
    client.send("labour", pinned, &request(1, 1)).await;
    client
        .send("labour", properties("plain"), &request(2, 1))
        .await;
    client.until_answered(2).await;
    assert_eq!(client.answer("pinned").code(), "unknown_version");
    let counted = |name: &str| worker.metric(&format!("{name}{{package=\"labour\"}}"));
    for name in ["inferq_retries_total", "inferq_retries_returned_total"] {
        assert!((counted(name) - 1.0).abs() < f64::EPSILON, "{name}");
    }
}
