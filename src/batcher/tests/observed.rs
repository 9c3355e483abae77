//! What is told of each run.

use super::*;
use crate::predict::testing::{of_sequences, steps};

#[tokio::test]
async fn every_run_is_observed_with_its_size() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&seen);
    let session = session_thread(&onnx::identity(FLOAT, &[N, 1]), CONFIG.max_size);
    let observer = move |observation: BatchObservation| {
        theirs.lock().unwrap().push(observation.rows);
    };
    let batcher = Batcher::start(
        "test",
        CONFIG,
        Sizing::default(),
        LIMIT,
        vec![(a_device(), vec![session])],
        observer,
    );
    let values: Vec<f32> = (0..20_u8).map(f32::from).collect();
    submit(&batcher, &values, soon()).await.unwrap().unwrap();
    batcher.close().await;
    assert_eq!(*seen.lock().unwrap(), [16, 4]);
}

#[tokio::test]
async fn every_run_is_observed_with_the_steps_of_its_sequences() {
    let (seen, observed) = mpsc::channel();
    let batcher = Batcher::start(
        "test",
        CONFIG,
        Sizing::default(),
        LIMIT,
        vec![(
            a_device(),
            vec![of_sequences(&onnx::greatest(), CONFIG.max_size)],
        )],
        move |observation| seen.send(observation.steps).unwrap(),
    );
    let rows = vec![steps(&[1.0; 20]), steps(&[2.0; 19])];
    let predicted = batcher.submit(rows, 0, soon(), None).await.unwrap();
    assert_eq!(predicted.rows.len(), 2);
    batcher.close().await;
    let (real, padded) = (39, 40);
    assert_eq!(
        observed.try_iter().collect::<Vec<_>>(),
        [Steps { real, padded }]
    );
}
