//! Where much of the credit is used, each answer makes room for another request.

use super::*;

/// How long an answer is on its way.
const LEAD: Duration = Duration::from_millis(50);
const PATIENT: PolicyConfig = PolicyConfig {
    max_delay: Duration::from_secs(10),
    ..CONFIG
};

fn answers_take_so_long(batcher: &Batcher) {
    for _ in 0..200 {
        let since = Instant::now().checked_sub(LEAD).unwrap();
        Going::new(&batcher.0.shared, since).arrived();
    }
}

fn going(batcher: &Batcher) -> Vec<Going> {
    let going = || Going::new(&batcher.0.shared, Instant::now());
    std::iter::repeat_with(going).take(100).collect()
}

#[tokio::test]
async fn a_batch_waits_for_what_comes_in_place_of_answers_that_are_on_their_way() {
    let mut held = held(PATIENT, |_| {});
    let batcher = held.batcher.clone();
    answers_take_so_long(&batcher);
    let running = submit(&batcher, &[1.0], soon());
    held.began.recv().await.unwrap();
    let waiting = submit(&batcher, &[2.0], soon());
    waiting_rows(&batcher, 1).await;

    let shared = &batcher.0.shared;
    let waits = || {
        let state = shared.state();
        // As of then, however slow this test is.
        let now = state.sizes.last().unwrap();
        shared.due(&state, now) > state.policy.oldest()
    };
    let going = going(&batcher);
    assert!(!waits(), "nobody is known to come");
    batcher.filled();
    assert!(waits());
    drop(going);
    assert!(!waits(), "none is on its way");

    for request in [running, waiting] {
        held.finish.send(()).unwrap();
        request.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_runs_while_answers_are_on_their_way_is_wanted_as_well() {
    let batcher = on_model(&onnx::identity(FLOAT, &[N, 1]), 1, PATIENT);
    let full = BatchObservation {
        rows: PATIENT.max_size,
        run: LEAD / 5,
        steps: Steps::default(),
    };
    batcher.0.shared.ran(full, true);
    let wants = |trip| batcher.wants(1, Some(trip)).requests;
    let before = wants(Duration::ZERO);
    assert_eq!(before, 2 * PATIENT.max_size);
    answers_take_so_long(&batcher);
    let more = wants(Duration::ZERO) - before;
    let of_five = 4 * PATIENT.max_size..=5 * PATIENT.max_size;
    assert!(of_five.contains(&more), "{more}");
    assert_eq!(wants(LEAD) - wants(Duration::ZERO), 5 * PATIENT.max_size);
}

#[tokio::test]
async fn nobody_waits_long_for_what_comes_in_place_of_answers_that_are_stuck() {
    let batcher = on_model(&onnx::identity(FLOAT, &[N, 1]), 1, PATIENT);
    answers_take_so_long(&batcher);
    let _stuck = going(&batcher);
    batcher.filled();
    let began = Instant::now();
    submit(&batcher, &[1.0], soon()).await.unwrap().unwrap();
    let took = began.elapsed();
    assert!(took > LEAD / 2, "it did not wait: {took:?}");
    assert!(took < PATIENT.max_delay / 2, "it waited on: {took:?}");
}
