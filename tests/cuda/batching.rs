//! The batcher around a session whose batches overlap.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use inferq::{
    batcher::{Batcher, Device, PolicyConfig, Share, Sizing},
    predict::SessionThread,
    tensor::RowValues,
};

use crate::{library, onnx, row, spec};

#[test]
#[ignore = "needs a GPU"]
fn requests_get_their_own_answers_while_batches_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(&onnx::linear(), folder.path(), 32);
    let session = SessionThread::spawn(&library(), "linear", spec).unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let sees = Arc::clone(&runs);
    let config = PolicyConfig {
        max_size: 32,
        max_delay: Duration::from_millis(2),
        queue_limit: 10_000,
    };
    let batcher = Batcher::start(
        "linear",
        config,
        Sizing::default(),
        Duration::from_secs(60),
        vec![(Device::gpu().join(Share::default()), vec![session])],
        move |_| {
            sees.fetch_add(1, Ordering::Relaxed);
        },
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ask = |n: u16| {
            let batcher = batcher.clone();
            tokio::spawn(async move {
                let rows = (0..=n % 3).map(|i| row(&[f32::from(n), f32::from(i), 0.0]));
                let deadline = Instant::now() + Duration::from_secs(60);
                let predicted = batcher
                    .submit(rows.collect(), 0, deadline, None)
                    .await
                    .unwrap();
                for (i, outputs) in predicted.rows.iter().enumerate() {
                    let expected = f32::from(n) + 2.0 * i as f32 + 0.5;
                    let Some(RowValues::Float([found])) = outputs.get("y") else {
                        panic!("expected one float")
                    };
                    assert!((found - expected).abs() < 1e-3, "{found} {expected}");
                }
                predicted.rows.len()
            })
        };
        let tasks: Vec<_> = (0..4_000).map(ask).collect();
        let mut rows = 0;
        for task in tasks {
            rows += task.await.unwrap();
        }
        assert_eq!(rows, 7_999);
        batcher.close().await;
    });
    assert!(runs.load(Ordering::Relaxed) >= 7_999 / 32);
}
