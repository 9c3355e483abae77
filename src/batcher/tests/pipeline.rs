//! A session whose batches overlap, around a device that is the test.

use super::*;
use crate::batcher::{
    pipeline::{self, Places},
    shell::Observer,
};

/// Where a batch with a negative row fails.
const AT_LAUNCH: f32 = -1.0;
const WHEN_OVER: f32 = -2.0;

/// A package's session on a GPU that is the test.
pub(super) struct Gpu {
    pub(super) launched: UnboundedReceiver<Vec<f32>>,
    /// The first of those that are under way there is over.
    pub(super) finish: mpsc::Sender<()>,
    pub(super) thread: JoinHandle<()>,
}

struct Ahead {
    batcher: Batcher,
    launched: UnboundedReceiver<Vec<f32>>,
    finish: mpsc::Sender<()>,
    observed: Arc<Mutex<Vec<BatchObservation>>>,
    thread: JoinHandle<()>,
}

fn ahead(config: PolicyConfig) -> Ahead {
    let observed = Arc::<Mutex<Vec<BatchObservation>>>::default();
    let sees = Arc::clone(&observed);
    let hears = Box::new(move |run| sees.lock().unwrap().push(run));
    let (batcher, [gpu]) = on_gpus(config, [Device::gpu()], hears);
    let Gpu {
        launched,
        finish,
        thread,
    } = gpu;
    Ahead {
        batcher,
        launched,
        finish,
        observed,
        thread,
    }
}

/// A batcher with a session on each of these.
pub(super) fn on_gpus<const N: usize>(
    config: PolicyConfig,
    devices: [Device; N],
    hears: Observer,
) -> (Batcher, [Gpu; N]) {
    let members = devices.map(|device| (device.join(Share::default()), 1));
    let shared = Arc::new(Shared::new(config, <_>::default(), members, hears));
    let runs = Arc::new(Runs::new(
        LIMIT,
        std::iter::repeat_with(|| None).take(2 * N),
    ));
    let gpus = std::array::from_fn(|lane| {
        let (tell, launched) = unbounded_channel();
        let (finish, finished) = mpsc::channel();
        let launch = launching(tell, finished);
        let (theirs, watched) = (Arc::clone(&shared), Arc::clone(&runs));
        let places = Places {
            launching: 2 * lane,
            landing: 2 * lane + 1,
        };
        let serve = move || {
            let at = (&*theirs, &*theirs.lanes[lane]);
            pipeline::serve(at, (&watched, places), launch);
        };
        Gpu {
            launched,
            finish,
            thread: std::thread::spawn(serve),
        }
    });
    let threads = Mutex::new(Vec::new());
    let batcher = Batcher(Arc::new(Handle {
        shared,
        runs,
        threads,
    }));
    (batcher, gpus)
}

type Flight = Box<dyn FnOnce() -> Result<Outputs, Fault> + Send>;

fn launching(
    tell: UnboundedSender<Vec<f32>>,
    finished: mpsc::Receiver<()>,
) -> impl FnMut(&[&Row]) -> Result<Flight, Fault> {
    let finished = Arc::new(Mutex::new(finished));
    move |rows: &[&Row]| {
        let read = |row: &&Row| bytemuck::pod_read_unaligned::<f32>(&row.bytes);
        let values: Vec<f32> = rows.iter().map(read).collect();
        let _ = tell.send(values.clone());
        let fails = |at: f32| values.iter().any(|value| value.to_bits() == at.to_bits());
        if fails(AT_LAUNCH) {
            return Err(Fault::model(Stage::Predict, "at launch"));
        }
        let fails = fails(WHEN_OVER);
        let finished = Arc::clone(&finished);
        Ok(Box::new(move || {
            let _ = finished.lock().unwrap().recv();
            assert!(values.iter().all(|value| value.is_finite()), "on purpose");
            if fails {
                return Err(Fault::model(Stage::Predict, "when it was over"));
            }
            let y = Output {
                name: "y".to_owned(),
                row_shape: vec![1],
                values: Values::Float(values),
            };
            Ok(Outputs {
                rows: y.values.len(),
                outputs: vec![y],
                steps: Steps::default(),
            })
        }))
    }
}

pub(super) fn of_two() -> PolicyConfig {
    PolicyConfig {
        max_size: 2,
        max_delay: Duration::ZERO,
        queue_limit: 100,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_launched_while_the_one_before_runs_and_a_third_waits_for_its_turn() {
    let mut held = ahead(of_two());
    let first = submit(&held.batcher, &[1.0, 2.0], soon());
    assert_eq!(held.launched.recv().await.unwrap(), [1.0, 2.0]);
    let second = submit(&held.batcher, &[3.0, 4.0], soon());
    assert_eq!(held.launched.recv().await.unwrap(), [3.0, 4.0]);
    let third = submit(&held.batcher, &[5.0, 6.0], soon());
    waiting_rows(&held.batcher, 2).await;
    assert!(held.launched.try_recv().is_err(), "the device has two");
    assert_eq!(held.batcher.stats().running_batches, 2);
    assert!(!first.is_finished() && !second.is_finished());

    held.finish.send(()).unwrap();
    let answer = first.await.unwrap().unwrap();
    assert!((float(&answer, 1) - 2.0).abs() < f32::EPSILON);
    assert_eq!(held.launched.recv().await.unwrap(), [5.0, 6.0]);
    let between = Instant::now();
    for (answer, values) in [(second, [3.0, 4.0]), (third, [5.0, 6.0])] {
        held.finish.send(()).unwrap();
        let answer = answer.await.unwrap().unwrap();
        let found = [float(&answer, 0), float(&answer, 1)];
        assert_eq!(found.map(f32::to_bits), values.map(f32::to_bits));
        assert_eq!(answer.batch_size, 2);
    }
    let since = between.elapsed();
    held.batcher.close().await;
    held.thread.join().unwrap();
    // The third was launched before the second was over: only from there on its run counts.
    let observed = held.observed.lock().unwrap();
    assert_eq!(observed.len(), 3);
    assert!(observed[2].run <= since, "{:?} {since:?}", observed[2].run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_batch_fails_only_the_row_fails_that_is_to_blame() {
    for culprit in [AT_LAUNCH, WHEN_OVER, f32::INFINITY] {
        let config = PolicyConfig {
            max_size: 8,
            max_delay: Duration::from_secs(30),
            queue_limit: 100,
        };
        let held = ahead(config);
        // More than there are runs.
        for _ in 0..40 {
            held.finish.send(()).unwrap();
        }
        let _crowd = crowd(&held.batcher);
        let values = [1.0, 2.0, culprit, 4.0, 5.0, 6.0, 7.0, 8.0];
        let asked = values.map(|value| submit(&held.batcher, &[value], soon()));
        for (value, answer) in values.into_iter().zip(asked) {
            let answer = answer.await.unwrap();
            if value.to_bits() == culprit.to_bits() {
                assert!(matches!(answer.unwrap_err(), Failure::Faulted(_)));
            } else {
                assert!((float(&answer.unwrap(), 0) - value).abs() < f32::EPSILON);
            }
        }
        held.batcher.close().await;
        assert_eq!(held.batcher.stats().running_batches, 0);
        held.thread.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_while_a_batch_runs_join_the_next_one() {
    let config = PolicyConfig {
        max_size: 4,
        ..of_two()
    };
    let mut held = ahead(config);
    held.batcher.0.shared.ran(
        BatchObservation {
            rows: 1,
            run: Duration::from_secs(10),
            steps: Steps::default(),
        },
        true,
    );
    let first = submit(&held.batcher, &[1.0], soon());
    assert_eq!(held.launched.recv().await.unwrap(), [1.0]);
    let others = [2.0, 3.0].map(|value| submit(&held.batcher, &[value], soon()));
    waiting_rows(&held.batcher, 2).await;
    assert!(
        held.launched.try_recv().is_err(),
        "they would only wait on the device"
    );
    held.finish.send(()).unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(held.launched.recv().await.unwrap().len(), 2);
    held.finish.send(()).unwrap();
    for other in others {
        assert_eq!(other.await.unwrap().unwrap().batch_size, 2);
    }
    held.batcher.close().await;
    held.thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_lands_what_flies_and_runs_what_waits() {
    let mut held = ahead(of_two());
    let asked: Vec<_> = (0..4_u8)
        .map(|n| submit(&held.batcher, &[f32::from(n), WHEN_OVER], soon()))
        .collect();
    for _ in 0..2 {
        held.launched.recv().await.unwrap();
    }
    waiting_rows(&held.batcher, 4).await;
    for _ in 0..40 {
        held.finish.send(()).unwrap();
    }
    held.batcher.close().await;
    held.thread.join().unwrap();
    for answer in asked {
        let answer = answer.await.unwrap();
        assert!(matches!(answer, Err(Failure::Faulted(fault)) if fault.kind == FaultKind::Model));
    }
}
