use super::*;
use inferq::broker::ConnectFault;
use std::io::Write;
use std::net::TcpListener;

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("lapin"))
        .count()
}

fn hasty(url: &str) -> Config {
    Config {
        connect_timeout_ms: 500,
        ..config(url)
    }
}

/// Accepts, says `words`, and then nothing.
fn peer(words: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            socket.write_all(words).unwrap();
            open.push(socket);
        }
    });
    format!("amqp://127.0.0.1:{port}")
}

const START: &[u8] = b"\x01\x00\x00\x00\x00\x00\x1c\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x00\
    \x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US\xce";
const TUNE: &[u8] =
    b"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x1e\x00\x00\x00\x02\x00\x00\x00\x00\xce";

#[tokio::test(flavor = "multi_thread")]
async fn connecting_to_a_peer_that_falls_silent_fails_in_bounded_time_and_leaves_no_thread() {
    let tuned: &'static [u8] = Box::leak([START, TUNE].concat().into_boxed_slice());
    for words in [b"".as_slice(), START, tuned] {
        let start = Instant::now();
        let fault = Broker::connect_once(&hasty(&peer(words)))
            .await
            .unwrap_err();
        assert!(matches!(fault, ConnectFault::Silent { .. }), "{fault}");
        assert!(!fault.is_final());
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
    }
    // Other tests connect meanwhile, each twice; a leak would never end.
    let broker = Broker::start(hasty(&peer(b"")));
    tokio::time::sleep(Duration::from_secs(2)).await;
    broker.close().await;
    until("the threads of silent peers end", || threads() < 60).await;
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
    const COUNT: usize = 4_000;
    let node = Node::start();
    let (broker, package) = broker_on(&node, "killed").await;
    let (handle, mut deliveries) = consume(&broker, &names::queue_of(&package), 128);
    let publisher = broker.publisher();
    let to = package.clone();
    // a few at a time, so that the kill comes in the middle
    let publishing = tokio::spawn(async move {
        use futures::StreamExt;
        let outcomes = futures::stream::iter(0..COUNT)
            .map(|number| publisher.publish(request(&to, number.to_string())))
            .buffer_unordered(200);
        outcomes.all(async |outcome| outcome.is_ok()).await
    });
    let mut seen = vec![0_u32; COUNT];
    let mut missing = COUNT;
    let mut killed = false;
    while missing > 0 {
        let delivery = next(&mut deliveries).await;
        let times = &mut seen[number(&delivery)];
        *times += 1;
        missing -= usize::from(*times == 1);
        delivery.receipt.ack();
        if !killed && missing < COUNT / 2 {
            killed = true;
            node.kill9();
            until("noticed", || !broker.health().publishing.connected).await;
            node.restart();
        }
    }
    assert!(publishing.await.unwrap(), "every publication resolves");
    let health = broker.health();
    assert!(health.consuming.reconnects >= 1 && health.publishing.reconnects >= 1);
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
