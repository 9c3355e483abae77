//! Requests that would have inferq publish what harms it, or what nobody takes.

use std::time::Duration;

use lapin::{
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};

use super::{Client, header_text, labour, mates, properties, request, with_header};
use crate::worker::{Worker, vhost};

#[tokio::test(flavor = "multi_thread")]
async fn what_would_break_the_publishing_connection_is_a_dead_letter_and_breaks_nothing() {
    let (url, packages) = (vhost(), labour());
    let worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    let forged = ["", ".x.y", ".", ".AAAA", ".AAAA."];
    for address in forged {
        let to = format!("amq.rabbitmq.reply-to{address}");
        let hostile = properties("forged").with_reply_to(to.as_str().into());
        // Brokers refuse the bare name themselves.
        if !address.is_empty() {
            client.send("labour", hostile, &request(1, 1)).await;
        }
    }
    let letters = u32::try_from(forged.len() - 1).unwrap();
    client.until_ready("inferq.dead.labour", letters).await;
    for letter in client.drain("inferq.dead.labour").await {
        let reason = header_text(&letter.properties, "inferq-reason");
        assert_eq!(reason.as_deref(), Some("reply_to_malformed"));
    }
    let big = AMQPValue::LongString("x".repeat(130_700).into());
    let no_reply = with_header(properties("big").with_reply_to("".into()), "big", big);
    client.send("labour", no_reply, &request(1, 1)).await;
    client.until_ready("inferq.dead.labour", 1).await;
    let letters = client.drain("inferq.dead.labour").await;
    let reason = header_text(&letters[0].properties, "inferq-reason");
    assert_eq!(reason.as_deref(), Some("no_reply_to"));
    client.send("labour", properties("2"), &request(2, 1)).await;
    client.until_answered(1).await;
    client.assert_outcomes([2]);
    let reconnects = worker.status()["broker"]["publishing"]["reconnects"].clone();
    assert_eq!(reconnects, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_to_a_full_queue_become_dead_letters_and_keep_no_other_requester() {
    const FULL: usize = 6;
    let (url, packages) = (vhost(), labour());
    let worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
    let overflow = AMQPValue::LongString("reject-publish".into());
    arguments.insert("x-overflow".into(), overflow);
    let options = QueueDeclareOptions::default();
    let declaring = client
        .channel
        .queue_declare("full".into(), options, arguments);
    declaring.await.unwrap();
    // A worker that has just started has a single delivery in hand, which waits for its reply.
    for id in 0..FULL {
        let to_full = properties(&id.to_string()).with_reply_to("full".into());
        client.send("labour", to_full, &request(id, 1)).await;
    }
    client
        .send("labour", properties("99"), &request(99, 1))
        .await;
    let answered = tokio::time::timeout(Duration::from_secs(8), client.until_answered(1));
    answered.await.expect("sooner than any reply is given up");
    client.assert_outcomes([99]);
    assert_eq!(client.ready("inferq.dead.labour").await, 0, "none was");
    assert!(worker.status()["broker"]["sick_destinations"] == 1);
    client
        .until_ready("inferq.dead.labour", u32::try_from(FULL).unwrap())
        .await;
    for letter in client.drain("inferq.dead.labour").await {
        let reason = header_text(&letter.properties, "inferq-reason");
        assert_eq!(reason.as_deref(), Some("reply_undeliverable"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_cannot_be_replied_either_is_one_dead_letter_that_says_both() {
    let (url, packages) = (vhost(), mates::packages());
    let _worker = Worker::start(&url, packages.path());
    let client = Client::connect(&url).await;
    let nowhere = properties("lost").with_reply_to("nowhere".into());
    let no_number = serde_json::json!({"x": -5});
    client.send("logarithm", nowhere, &no_number).await;
    client.until_ready("inferq.dead.logarithm", 1).await;
    let letters = client.drain("inferq.dead.logarithm").await;
    let text = |key| header_text(&letters[0].properties, key);
    assert_eq!(text("inferq-reason").as_deref(), Some("model_fault"));
    assert_eq!(text("inferq-reply").as_deref(), Some("undeliverable"));
    assert_eq!(client.ready("inferq.dead.logarithm").await, 0);
}

/// `FLOOD_MESSAGES` says how many, `FLOOD_MIB` how large, `FLOOD_BUDGET_MIB` what may be in flight.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_large_messages_is_rejected_within_the_budget_of_bytes() {
    const MIB: usize = 1 << 20;
    /// A worker that does nothing, and beside its budget the messages that are being read.
    const REST_MIB: usize = 180;
    let number = |name: &str, usual| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: {text:?}")),
        Err(_) => usual,
    };
    let messages = number("FLOOD_MESSAGES", 60);
    let (size, budget) = (number("FLOOD_MIB", 4), number("FLOOD_BUDGET_MIB", 16));
    let (url, packages) = (vhost(), labour());
    let manifest = packages.path().join("labour/1.0.0/package.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let limited = text.replace("[limits]", "[limits]\nrequest_bytes = 65536");
    std::fs::write(&manifest, limited).unwrap();
    let bytes = (budget * MIB).to_string();
    let environment = [("INFERQ__BROKER__IN_FLIGHT_BYTES", bytes.as_str())];
    let mut first = Worker::start(&url, packages.path());
    first.signal("TERM");
    first.wait();
    let mut client = Client::connect(&url).await;
    let body = "x".repeat(size * MIB);
    for id in 0..messages {
        let flood = vec![(properties(&id.to_string()), body.clone())];
        client.send_all("labour", flood).await;
    }
    let worker = Worker::spawn(&url, packages.path(), &environment);
    client.until_answered(messages).await;
    for id in 0..messages {
        assert_eq!(client.answer(&id.to_string()).code(), "request_too_large");
    }
    let peak = worker.peak_bytes() / MIB;
    eprintln!("{peak} MiB at the most, of {messages} messages of {size} MiB");
    assert!(peak < REST_MIB + budget, "{peak} MiB");
}
