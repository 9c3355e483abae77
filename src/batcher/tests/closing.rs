//! How a batcher ends.

use super::*;

#[tokio::test]
async fn closing_finishes_what_waits_and_takes_nothing_more() {
    let config = PolicyConfig {
        max_delay: Duration::from_secs(30),
        ..CONFIG
    };
    let batcher = on_model(&onnx::identity(FLOAT, &[N, 1]), 2, config);
    let _crowd = crowd(&batcher);
    let waiting = [
        submit(&batcher, &[1.0], soon()),
        submit(&batcher, &[2.0, 3.0], soon()),
    ];
    waiting_rows(&batcher, 3).await;
    batcher.close().await;
    for answer in waiting {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(batcher.stats().sessions_alive, 0);
    let refused = submit(&batcher, &[4.0], soon()).await.unwrap().unwrap_err();
    assert!(matches!(refused, Failure::Faulted(fault) if fault.is_transient()));
    batcher.close().await;
}

#[tokio::test]
async fn dropping_the_last_clone_ends_the_sessions() {
    let Held {
        batcher, thread, ..
    } = held(CONFIG, |_| {});
    drop(batcher.clone());
    assert_eq!(batcher.stats().sessions_alive, 1);
    drop(batcher);
    thread.join().unwrap();
}

#[tokio::test]
async fn when_the_last_session_dies_nobody_is_left_waiting() {
    let mut held = held(CONFIG, |_| panic!("on purpose"));
    let ahead = submit(&held.batcher, &[1.0], soon());
    held.began.recv().await.unwrap();
    let behind = submit(&held.batcher, &[2.0], soon());
    waiting_rows(&held.batcher, 1).await;
    held.finish.send(()).unwrap();
    ahead.await.unwrap().unwrap();
    let orphan = behind.await.unwrap().unwrap_err();
    assert!(matches!(orphan, Failure::Faulted(fault) if fault.kind == FaultKind::Internal));
    held.thread.join().unwrap_err();
    let stats = held.batcher.stats();
    assert_eq!((stats.sessions_alive, stats.running_batches), (0, 0));
    submit(&held.batcher, &[3.0], soon())
        .await
        .unwrap()
        .unwrap_err();
}
