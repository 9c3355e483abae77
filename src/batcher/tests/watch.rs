//! Runs beyond their limit.

use super::*;

/// One row of the model that adds nothing to x, `work` times.
fn labour(x: f32, work: i64) -> Row {
    let mut bytes = x.to_ne_bytes().to_vec();
    bytes.extend(work.to_ne_bytes());
    let strings = Vec::new();
    let length = 0;
    Row {
        bytes,
        strings,
        length,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_is_stopped_and_costs_no_batch_mate_its_answer() {
    let limit = Duration::from_millis(300);
    let session = session_thread(&onnx::labour(), 16);
    let batcher = Batcher::start(
        "test",
        CONFIG,
        Sizing::default(),
        limit,
        vec![(a_device(), vec![session])],
        |_| {},
    );
    let each = [(1.0, 1), (2.0, i64::MAX), (3.0, 1)].map(|(x, work)| {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.submit(vec![labour(x, work)], 0, soon(), None).await })
    });
    let [first, endless, last] = each;
    for (answer, x) in [(first, 1.0), (last, 3.0)] {
        let predicted = answer.await.unwrap().unwrap();
        assert!((float(&predicted, 0) - x).abs() < 1e-6);
    }
    let Err(Failure::Faulted(fault)) = endless.await.unwrap() else {
        panic!("expected a fault")
    };
    assert_eq!(fault.kind, FaultKind::Model);
    assert!(fault.detail.contains("stopped after 300ms"), "{fault}");
    let again = batcher.submit(vec![labour(4.0, 1)], 0, soon(), None).await;
    assert!(
        (float(&again.unwrap(), 0) - 4.0).abs() < 1e-6,
        "the session goes on"
    );
    assert_eq!(batcher.stats().hung, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_be_stopped_is_told_of() {
    let mut held = held_for(Duration::from_millis(20), CONFIG, |_| {});
    let answer = submit(&held.batcher, &[1.0], soon());
    held.began.recv().await.unwrap();
    assert_eq!(held.batcher.stats().hung, None);
    until(|| held.batcher.stats().hung.is_some()).await;
    let least = Some(Duration::from_secs(2));
    assert!(held.batcher.stats().hung > least, "it had no time to end");
    held.finish.send(()).unwrap();
    assert!(answer.await.unwrap().is_ok());
    assert_eq!(held.batcher.stats().hung, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_batcher_stops_what_runs_and_runs_nothing_more() {
    let limit = Duration::from_secs(600);
    let session = session_thread(&onnx::labour(), 16);
    let alone = PolicyConfig {
        max_size: 1,
        ..CONFIG
    };
    let batcher = Batcher::start(
        "test",
        alone,
        Sizing::default(),
        limit,
        vec![(a_device(), vec![session])],
        |_| {},
    );
    let ask = |x, work| {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.submit(vec![labour(x, work)], 0, soon(), None).await })
    };
    let stands = || {
        let stats = batcher.stats();
        (stats.running_batches, stats.waiting_rows)
    };
    let runs = ask(1.0, i64::MAX);
    until(|| stands() == (1, 0)).await;
    let waits = ask(2.0, 1);
    until(|| stands() == (1, 1)).await;
    batcher.abandon();
    batcher.close().await;
    for answer in [runs, waits] {
        let Err(Failure::Faulted(fault)) = answer.await.unwrap() else {
            panic!("expected a fault")
        };
        assert_eq!(fault.kind, FaultKind::Internal);
    }
}
