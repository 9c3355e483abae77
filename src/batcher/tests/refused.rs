//! What a batcher does not take, or gives back.

use super::*;

#[tokio::test]
async fn a_full_queue_is_overloaded_and_takes_a_request_whole_or_not_at_all() {
    let config = PolicyConfig {
        max_size: 2,
        queue_limit: 4,
        ..CONFIG
    };
    let mut held = held(config, |_| {});
    let running = submit(&held.batcher, &[0.0, 0.5], soon());
    held.began.recv().await.unwrap();
    let waiting = submit(&held.batcher, &[1.0, 2.0, 3.0], soon());
    waiting_rows(&held.batcher, 3).await;
    let refused = submit(&held.batcher, &[4.0, 5.0], soon())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(code(&refused), Some(Code::Overloaded));
    assert_eq!(held.batcher.stats().waiting_rows, 3);
    (0..3).for_each(|_| held.finish.send(()).unwrap());
    running.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_late_row_is_told_at_once_and_never_reaches_the_model() {
    let mut held = held(CONFIG, |_| {});
    let ahead = submit(&held.batcher, &[1.0], soon());
    held.began.recv().await.unwrap();
    let deadline = Instant::now() + Duration::from_millis(20);
    let late = submit(&held.batcher, &[2.0], deadline)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(code(&late), Some(Code::DeadlineExceeded));
    assert_eq!(held.batcher.stats().waiting_rows, 0);

    let passed = submit(&held.batcher, &[3.0], Instant::now())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(code(&passed), Some(Code::DeadlineExceeded));

    let behind = submit(&held.batcher, &[4.0], soon());
    (0..2).for_each(|_| held.finish.send(()).unwrap());
    assert_eq!(held.began.recv().await.unwrap(), [4.0]);
    ahead.await.unwrap().unwrap();
    behind.await.unwrap().unwrap();
}
