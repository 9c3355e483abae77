//! Bytes that no decent client sends.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{assert_at_rest, client, dead_letters, payment, reply_queue, take, vhost_of};
use crate::{
    node::Node,
    raw::{RawConnection, long, short},
    worker::{Worker, samples, vhost},
};

const BAD: &[u8] = b"caf\xe9 \xff";
const QUEUE: &str = "replies";

/// Property numbers in the order of their flags.
const CONTENT_TYPE: u16 = 0;
const HEADERS: u16 = 2;
const CORRELATION_ID: u16 = 5;
const REPLY_TO: u16 = 6;

/// A property list: flags, then values in their order.
#[derive(Clone, Default)]
struct List(BTreeMap<u16, Vec<u8>>);

impl List {
    fn numbered(number: usize) -> List {
        List::default()
            .text(REPLY_TO, QUEUE.as_bytes())
            .text(CORRELATION_ID, number.to_string().as_bytes())
    }

    fn text(mut self, property: u16, text: &[u8]) -> List {
        self.0.insert(property, short(text));
        self
    }

    fn headers(mut self, table: &[u8]) -> List {
        self.0.insert(HEADERS, long(table));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let flags = self.0.keys().fold(0, |flags, at| flags | 0x8000_u16 >> at);
        let values: Vec<_> = self.0.values().flatten().copied().collect();
        [&flags.to_be_bytes()[..], &values].concat()
    }
}

fn entry(key: &[u8], kind: u8, value: &[u8]) -> Vec<u8> {
    [&short(key)[..], &[kind], value].concat()
}

/// A header that nests.
fn nested(levels: usize, kind: u8) -> Vec<u8> {
    let key = if kind == b'F' { short(b"") } else { Vec::new() };
    let wrap = |inner: Vec<u8>, _| [&key[..], &[kind], &long(&inner)].concat();
    entry(b"deep", kind, &long(&(0..levels).fold(Vec::new(), wrap)))
}

/// One value of every type that RabbitMQ takes in headers.
fn every_type() -> Vec<(u8, Vec<u8>)> {
    vec![
        (b't', vec![1]),
        (b'b', vec![0xff]),
        (b'B', vec![0xff]),
        (b's', vec![0xff, 0xfe]),
        (b'u', vec![0xff, 0xfe]),
        (b'I', vec![0xff; 4]),
        (b'i', vec![0xff; 4]),
        (b'l', vec![0xff; 8]),
        (b'f', 1.5_f32.to_be_bytes().to_vec()),
        (b'd', (-1.5_f64).to_be_bytes().to_vec()),
        (b'D', vec![2, 0, 0, 1, 0]),
        (b'T', vec![0, 0, 0, 1, 0, 0, 0, 0]),
        (b'S', long(b"text")),
        (b'S', long(BAD)),
        (b'x', long(BAD)),
        (b'A', long(&[b't', 1, b'V'])),
        (b'F', long(&entry(b"k", b'V', b""))),
        (b'V', Vec::new()),
    ]
}

/// Lists that cannot be read as they are, each with the correlation id of its reply.
fn unreadable() -> Vec<(List, String)> {
    let mut lists = Vec::new();
    let mut add = |list: List| lists.push((list, lists.len().to_string()));
    let numbered = |at: usize| List::numbered(at);
    // content type and encoding, message id, type, app id, cluster id
    for (at, property) in [CONTENT_TYPE, 1, 8, 10, 12, 13].into_iter().enumerate() {
        add(numbered(at).text(property, BAD));
    }
    let bad = entry(BAD, b'V', b"");
    let tables = [
        bad.clone(),
        entry(b"k", b'F', &long(&bad)),
        entry(b"k", b'A', &long(&[&[b'F'][..], &long(&bad)].concat())),
        nested(26_000, b'A'),
        nested(20_000, b'F'),
        nested(17, b'F'),
    ];
    for (at, table) in tables.iter().enumerate() {
        add(numbered(6 + at).headers(table));
    }
    lists.push((List::numbered(0).text(CORRELATION_ID, BAD), "caf? ?".into()));
    lists
}

/// Every type as value of every header that means something here, and of one that does not.
fn typed() -> Vec<(&'static str, List)> {
    let keys = [
        "mine",
        "inferq-deadline",
        "inferq-version",
        "inferq-accept",
        "traceparent",
        "tracestate",
        "inferq-attempts",
        "x-delivery-count",
    ];
    let each = keys.into_iter().flat_map(|key| {
        every_type()
            .into_iter()
            .map(move |(kind, value)| (key, kind, value))
    });
    let lists = each.enumerate().map(|(at, (key, kind, value))| {
        (
            key,
            List::numbered(1_000 + at).headers(&entry(key.as_bytes(), kind, &value)),
        )
    });
    lists.collect()
}

fn code(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap();
    body.get("code")
        .map_or("outcome", |code| code.as_str().unwrap())
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_utf8_and_headers_too_deep_are_answered_at_once_and_neighbours_unharmed()
{
    let url = vhost();
    let worker = Worker::start(&url, &samples());
    let channel = client(&url).await;
    reply_queue(&channel, QUEUE).await;
    let (body, lists) = (payment().to_string(), unreadable());
    let mut raw = RawConnection::open_in(Node::shared().port(), vhost_of(&url)).unwrap();
    let mut send = |key: &[u8], list: &List| {
        raw.publish(b"inferq", key, &list.bytes(), body.as_bytes())
            .unwrap();
    };
    for (at, (list, _)) in lists.iter().enumerate() {
        send(b"fraud", list);
        send(b"fraud", &List::numbered(100 + at));
    }
    send(b"fraud", &List::numbered(0).text(REPLY_TO, BAD));
    send(b"k\xff\xfe", &List::numbered(200));
    raw.finish().unwrap();

    let mut expected: Vec<_> = lists
        .iter()
        .map(|(_, id)| (id.clone(), "malformed_message".to_owned()))
        .collect();
    expected.extend((0..lists.len()).map(|at| ((100 + at).to_string(), "outcome".to_owned())));
    expected.push(("200".into(), "unknown_package".into()));
    expected.sort_unstable();
    let replies = take(&channel, QUEUE, expected.len()).await;
    let mut found: Vec<_> = replies
        .iter()
        .map(|reply| {
            let id = reply
                .properties
                .correlation_id()
                .as_ref()
                .unwrap()
                .to_string();
            (id, code(&reply.data))
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(dead_letters(&url, "fraud", 1).await, ["reply_to_malformed"]);
    assert_at_rest(&worker, &url);
}

#[tokio::test(flavor = "multi_thread")]
async fn header_values_of_every_amqp_type_are_taken_or_rejected_and_never_met_with_silence() {
    let url = vhost();
    let worker = Worker::start(&url, &samples());
    let channel = client(&url).await;
    reply_queue(&channel, QUEUE).await;
    let lists = typed();
    let mut raw = RawConnection::open_in(Node::shared().port(), vhost_of(&url)).unwrap();
    for (_, list) in &lists {
        raw.publish(
            b"inferq",
            b"fraud",
            &list.bytes(),
            payment().to_string().as_bytes(),
        )
        .unwrap();
    }
    raw.finish().unwrap();
    for reply in take(&channel, QUEUE, lists.len()).await {
        let id = reply
            .properties
            .correlation_id()
            .as_ref()
            .unwrap()
            .to_string();
        let (key, list) = &lists[id.parse::<usize>().unwrap() - 1_000];
        let allowed: &[&str] = match *key {
            "inferq-deadline" => &["outcome", "malformed_message", "deadline_exceeded"],
            "inferq-version" => &["outcome", "malformed_message", "unknown_version"],
            _ => &["outcome"],
        };
        let found = code(&reply.data);
        assert!(
            allowed.contains(&&*found),
            "{key} {:?}: {found}",
            list.0[&HEADERS]
        );
    }
    assert_at_rest(&worker, &url);
}
