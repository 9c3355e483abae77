use super::*;
use crate::raw::{RawConnection, long, short};
use inferq::broker::Blemish;
use std::collections::BTreeSet;

const BAD: &[u8] = b"caf\xe9 \xff";

/// Property lists with one bad text each: every text property but `reply_to`, then header names, also nested.
fn bad_texts() -> Vec<Vec<u8>> {
    let mut lists = Vec::new();
    // content type and encoding, correlation id, message id, type, app id, cluster id;
    // (expiration and user id are checked by the broker)
    for bit in [0, 1, 5, 8, 10, 12, 13] {
        let flags = (0x8000_u16 >> bit).to_be_bytes();
        lists.push([&flags[..], &short(BAD)].concat());
    }
    let entry = [&short(BAD)[..], b"V"].concat();
    let nested = [&short(b"k")[..], b"F", &long(&entry)].concat();
    let listed = [
        &short(b"k")[..],
        b"A",
        &long(&[b"F", &long(&entry)[..]].concat()),
    ]
    .concat();
    for table in [entry, nested, listed] {
        lists.push([&[0x20, 0][..], &long(&table)].concat());
    }
    lists
}

fn nested(levels: usize, tag: u8) -> Vec<u8> {
    let key = if tag == b'F' { short(b"") } else { Vec::new() };
    let mut inner = Vec::new();
    for _ in 0..levels {
        inner = [&key[..], &[tag], &long(&inner)].concat();
    }
    let entry = [&short(b"deep")[..], &[tag], &long(&inner)].concat();
    [&[0x20, 0][..], &long(&entry)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_lapin_cannot_survive_arrive_marked_while_their_neighbours_flow() {
    let (broker, package) = broker("screened").await;
    let queue = names::queue_of(&package);
    let mut expected = Vec::new();
    {
        let mut raw = RawConnection::open(Node::shared().port()).unwrap();
        let mut publish = |list: &[u8], blemish| {
            for (list, blemish) in [(list, blemish), (&[0, 0][..], None)] {
                let body = expected.len().to_string();
                raw.publish(b"inferq", package.as_bytes(), list, body.as_bytes())
                    .unwrap();
                expected.push(blemish);
            }
        };
        for list in bad_texts() {
            publish(&list, Some(Blemish::NotUtf8));
        }
        publish(
            &[&[0x02, 0][..], &short(BAD)].concat(),
            Some(Blemish::ReplyTo),
        );
        publish(&nested(26_000, b'A'), Some(Blemish::TooDeep));
        publish(&nested(20_000, b'F'), Some(Blemish::TooDeep));
        publish(&nested(10, b'F'), None);
        raw.finish().unwrap();
    }
    let (handle, mut deliveries) = consume(&broker, &queue, 32);
    // Several consumers share the channel: each is in order, all together are not.
    let mut seen = BTreeSet::new();
    for _ in &expected {
        let delivery = next(&mut deliveries).await;
        let number = number(&delivery);
        assert_eq!(delivery.blemish, expected[number], "{number}");
        assert!(seen.insert(number));
        delivery.receipt.ack();
    }
    let health = broker.health();
    assert_eq!(
        (health.consuming.reconnects, handle.health().redelivered),
        (0, 0)
    );
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routing_key_that_is_not_utf8_arrives_marked_in_the_queue_of_the_unknown() {
    let (broker, _) = broker("key").await;
    let mut raw = RawConnection::open(Node::shared().port()).unwrap();
    raw.publish(b"inferq", b"k\xff\xfe", &[0, 0], b"screened-key")
        .unwrap();
    raw.finish().unwrap();
    let (_handle, mut deliveries) = consume(&broker, names::UNKNOWN, 4);
    loop {
        let delivery = next(&mut deliveries).await;
        if &delivery.body[..] == b"screened-key" {
            assert_eq!(delivery.blemish, Some(Blemish::NotUtf8));
            assert_eq!(delivery.routing_key, "k??");
            delivery.receipt.ack();
            break;
        }
        delivery.receipt.ack();
    }
    assert_eq!(broker.health().consuming.reconnects, 0);
    broker.close().await;
}
