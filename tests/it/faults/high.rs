//! The queue that is served first.

use super::{Client, labour, numbered, properties, request};
use crate::worker::{Worker, vhost};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_the_high_queue_overtakes_a_backlog_that_came_before_it() {
    const BACKLOG: usize = 4_000;
    let (url, packages) = (vhost(), labour());
    let high = "high_queue = true\n[limits]";
    packages.change(("labour", "1.0.0"), "[limits]", high);
    // Makes the queues.
    let mut worker = Worker::start(&url, packages.path());
    worker.signal("TERM");
    assert!(worker.wait().success());
    let mut client = Client::connect(&url).await;
    client.send_all("labour", numbered(0..BACKLOG, 2_000)).await;
    let urgent = properties(&BACKLOG.to_string());
    client
        .send("labour.high", urgent, &request(BACKLOG, 1))
        .await;
    let _worker = Worker::start(&url, packages.path());
    let mut before = 0;
    while client.next().await.0 != BACKLOG.to_string() {
        before += 1;
    }
    eprintln!("{before} of {BACKLOG} were answered before it");
    assert!(before < BACKLOG / 10);
    client.until_answered(BACKLOG + 1).await;
    client.assert_outcomes(0..=BACKLOG);
}
