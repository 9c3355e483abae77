use super::*;
use futures::StreamExt;
use inferq::broker::ConnectFault;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize};

fn hasty(url: &str) -> Config {
    Config {
        connect_timeout_ms: 500,
        ..config(url)
    }
}

/// A peer that falls silent, and how many of its connections are open.
struct Peer {
    url: String,
    open: Arc<AtomicUsize>,
}

/// Answers whatever comes with the next of `words`, and then with nothing.
fn peer(words: &'static [&'static [u8]]) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, count) = (socket.unwrap(), Arc::clone(&count));
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                let mut answers = words.iter();
                while socket.read(&mut [0; 4_096]).is_ok_and(|size| size > 0) {
                    if let Some(answer) = answers.next() {
                        socket.write_all(answer).unwrap();
                    }
                }
                count.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    let url = format!("amqp://127.0.0.1:{port}");
    Peer { url, open }
}

const START: &[u8] = b"\x01\x00\x00\x00\x00\x00\x1c\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x00\
    \x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US\xce";
const TUNE: &[u8] =
    b"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x1e\x00\x00\x00\x02\x00\x00\x00\x00\xce";

#[tokio::test(flavor = "multi_thread")]
async fn connecting_to_a_peer_that_falls_silent_fails_in_bounded_time_and_leaves_nothing() {
    for words in [&[] as &[_], &[START], &[START, TUNE]] {
        let (peer, start) = (peer(words), Instant::now());
        let fault = Broker::connect_once(&hasty(&peer.url)).await.unwrap_err();
        assert!(matches!(fault, ConnectFault::Silent { .. }), "{fault}");
        assert!(!fault.is_final());
        let took = start.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}");
        // lapin's thread owns the socket: closed, both are gone
        until("its end", || peer.open.load(Ordering::Relaxed) == 0).await;
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let fault = Broker::connect_once(&hasty("amqp://127.0.0.1:1")).await;
    let fault = fault.unwrap_err();
    assert!(matches!(fault, ConnectFault::Unreachable { .. }), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_missing_virtual_host_are_told_apart() {
    let port = Node::shared().port();
    let url = format!("amqp://guest:wrong@127.0.0.1:{port}/%2f");
    let fault = Broker::connect_once(&config(&url)).await.unwrap_err();
    assert!(
        matches!(fault, ConnectFault::AccessRefused { .. }),
        "{fault}"
    );
    assert!(fault.is_final() && !fault.to_string().contains("wrong"));
    let url = format!("amqp://guest:guest@127.0.0.1:{port}/nowhere");
    let fault = Broker::connect_once(&config(&url)).await.unwrap_err();
    assert!(matches!(fault, ConnectFault::Vhost { .. }), "{fault}");
    assert!(fault.is_final());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_node_answers() {
    let config = config(&Node::shared().url());
    Broker::connect_once(&config).await.unwrap();
    assert_eq!(config.vhost().unwrap(), "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_blocks_publications_deliveries_go_on_and_nothing_is_lost() {
    let node = Node::start();
    let (broker, package) = broker_on(&node, "blocked").await;
    publish_all(&broker, &package, 10).await;
    node.ctl(&["set_vm_memory_high_watermark", "0"]);
    let (publisher, late) = (broker.publisher(), request(&package, "10"));
    let publishing = tokio::spawn(async move { publisher.publish(late).await });
    until("blocked", || broker.health().publishing.blocked.is_some()).await;
    let (_handle, mut deliveries) = consume(&broker, &names::queue_of(&package), 4);
    for _ in 0..10 {
        next(&mut deliveries).await.receipt.ack();
    }
    assert!(!publishing.is_finished());
    node.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    publishing.await.unwrap().unwrap();
    assert_eq!(number(&next(&mut deliveries).await), 10);
    until("unblocked", || broker.health().publishing.blocked.is_none()).await;
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_and_restarted_loses_no_confirmed_request_and_no_publication() {
    // RabbitMQ 3.10 itself finds no leader for a queue that was declared just before a power cut.
    const BEFORE: Duration = Duration::from_secs(2);
    let node = Node::start();
    let (broker, package) = broker_on(&node, "killed").await;
    let (handle, mut deliveries) = consume(&broker, &names::queue_of(&package), 128);
    let (publisher, restarted) = (broker.publisher(), Arc::new(AtomicBool::new(false)));
    let (to, enough) = (package.clone(), Arc::clone(&restarted));
    // a few in flight at any time, until the broker has come back
    let publishing = tokio::spawn(async move {
        let outcomes = futures::stream::iter(0..)
            .take_while(|_| std::future::ready(!enough.load(Ordering::Relaxed)))
            .map(|number: usize| publisher.publish(request(&to, number.to_string())))
            .buffer_unordered(200);
        outcomes.map(Result::unwrap).count().await
    });
    let (start, mut killed) = (Instant::now(), false);
    let mut seen = HashSet::new();
    let count = loop {
        let delivery = next(&mut deliveries).await;
        seen.insert(number(&delivery));
        delivery.receipt.ack();
        if !killed && start.elapsed() > BEFORE {
            killed = true;
            node.kill9();
            until("noticed", || !broker.health().publishing.connected).await;
            node.restart();
            until("back", || broker.health().publishing.connected).await;
            restarted.store(true, Ordering::Relaxed);
        }
        if restarted.load(Ordering::Relaxed) && publishing.is_finished() {
            break publishing.await.unwrap();
        }
    };
    while seen.len() < count {
        let delivery = next(&mut deliveries).await;
        seen.insert(number(&delivery));
        delivery.receipt.ack();
    }
    assert!(broker.health().consuming.reconnects >= 1);
    handle.drain().await;
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_answering_is_noticed_and_found_again() {
    let node = Node::start();
    let mut config = config(&node.url());
    config.heartbeat_s = 1;
    let broker = Broker::start(config);
    let package = fresh("frozen");
    broker.establish(&packages(&[&package])).await.unwrap();
    let (_handle, mut deliveries) = consume(&broker, &names::queue_of(&package), 4);
    publish_all(&broker, &package, 1).await;
    next(&mut deliveries).await.receipt.ack();
    node.signal("STOP");
    until("noticed", || !broker.health().consuming.connected).await;
    node.signal("CONT");
    publish_all(&broker, &package, 1).await;
    next(&mut deliveries).await.receipt.ack();
    broker.close().await;
}
