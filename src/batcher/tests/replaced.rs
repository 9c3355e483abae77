//! Where as many are in hand as may be, each that is answered makes room for another.

use super::*;

#[tokio::test]
async fn a_batch_waits_for_what_comes_in_place_of_answers_that_are_on_their_way() {
    let mut held = held(CONFIG, |_| {});
    let batcher = held.batcher.clone();
    let running = submit(&batcher, &[1.0], soon());
    held.began.recv().await.unwrap();
    let waiting = submit(&batcher, &[2.0], soon());
    waiting_rows(&batcher, 1).await;

    let shared = &batcher.0.shared;
    let waits = || {
        let state = shared.state();
        state.due(shared.traffic(&state, Instant::now())) > state.policy.oldest()
    };
    let going: Vec<_> = (0..10)
        .map(|_| Going::new(shared, Instant::now()))
        .collect();
    assert!(!waits(), "nobody is known to come");
    let _ = batcher.wants(1, true);
    assert!(waits());
    drop(going);
    assert!(!waits(), "none is on its way");

    for request in [running, waiting] {
        held.finish.send(()).unwrap();
        request.await.unwrap().unwrap();
    }
}
