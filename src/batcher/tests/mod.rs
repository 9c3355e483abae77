//! The batcher around tiny models, and around runs that the test holds in its hand.

mod climbing;
mod closing;
mod device;
mod lanes;
mod observed;
mod pipeline;
mod refused;
mod replaced;
mod watch;

use std::{
    future::Future,
    pin::pin,
    sync::mpsc,
    task::{Context, Waker},
    thread::JoinHandle,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::{
    fault::{Fault, FaultKind},
    message::rejection::{Code, Stage},
    predict::{
        onnx::{self, FLOAT, Graph, N},
        testing::{row, session_thread},
    },
    tensor::{Output, Outputs, RowValues, Steps, Values},
};

const CONFIG: PolicyConfig = PolicyConfig {
    max_size: 16,
    max_delay: Duration::from_millis(2),
    queue_limit: 1_000,
};

/// No run takes this long.
const LIMIT: Duration = Duration::from_secs(60);

/// A package that has a device to itself.
fn a_device() -> Member {
    Device::new(64).join(Share::default())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn on_model(graph: &Graph, sessions: usize, config: PolicyConfig) -> Batcher {
    let sessions = (0..sessions).map(|_| session_thread(graph, config.max_size));
    Batcher::start(
        "test",
        config,
        Sizing::default(),
        LIMIT,
        vec![(a_device(), sessions.collect())],
        |_| {},
    )
}

fn float(predicted: &Predicted, row: usize) -> f32 {
    let Some(RowValues::Float([value])) = predicted.rows[row].get("y") else {
        panic!("expected one float")
    };
    *value
}

/// Waits until something holds.
async fn until(holds: impl Fn() -> bool) {
    let looks = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    let bound = tokio::time::timeout(Duration::from_secs(10), looks);
    bound.await.expect("it holds by now");
}

async fn waiting_rows(batcher: &Batcher, rows: usize) {
    until(|| batcher.stats().waiting_rows >= rows).await;
}

/// As long as these are on their way, rows wait for more.
fn crowd(batcher: &Batcher) -> Vec<Coming> {
    (0..100).map(|_| batcher.expect()).collect()
}

fn code(failure: &Failure) -> Option<Code> {
    match failure {
        Failure::Rejected(rejection) => Some(rejection.code.clone()),
        Failure::Faulted(_) => None,
    }
}

/// A batcher with one session that is the test: it hears of every run and says when it is over.
struct Held {
    batcher: Batcher,
    began: UnboundedReceiver<Vec<f32>>,
    finish: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

/// A run gives back what it got, fails on a negative row, and panics on an infinite one.
fn held(config: PolicyConfig, observer: fn(BatchObservation)) -> Held {
    held_for(LIMIT, config, observer)
}

fn held_for(limit: Duration, config: PolicyConfig, observer: fn(BatchObservation)) -> Held {
    held_on(a_device(), limit, config, observer)
}

fn held_on(
    member: Member,
    limit: Duration,
    config: PolicyConfig,
    observer: fn(BatchObservation),
) -> Held {
    let shared = Shared::new(config, <_>::default(), [(member, 1)], Box::new(observer));
    let shared = Arc::new(shared);
    let (tell, began) = unbounded_channel();
    let (finish, finished) = mpsc::channel();
    let run = move |rows: &[&Row]| {
        let read = |row: &&Row| bytemuck::pod_read_unaligned::<f32>(&row.bytes);
        let values: Vec<f32> = rows.iter().map(read).collect();
        let _ = tell.send(values.clone());
        let _ = finished.recv();
        assert!(values.iter().all(|v| v.is_finite()), "on purpose");
        if values.iter().any(|v| *v < 0.0) {
            return Err(Fault::model(Stage::Predict, "a negative row"));
        }
        let y = Output {
            name: "y".to_owned(),
            row_shape: vec![1],
            values: Values::Float(values),
        };
        Ok(Outputs {
            rows: rows.len(),
            outputs: vec![y],
            steps: Steps::default(),
        })
    };
    let runs = Arc::new(Runs::new(limit, [None]));
    runs.watch("test");
    let (theirs, watched) = (Arc::clone(&shared), Arc::clone(&runs));
    let thread = std::thread::spawn(move || {
        serve((&theirs, &theirs.lanes[0]), (&watched, 0), run);
    });
    let threads = Mutex::new(Vec::new());
    Held {
        batcher: Batcher(Arc::new(Handle {
            shared,
            runs,
            threads,
        })),
        began,
        finish,
        thread,
    }
}

/// The first request's runtime is where later answers would be given, were it still there, or at work.
#[test]
fn who_asks_from_another_runtime_is_answered_whatever_became_of_the_first() {
    let ask = |batcher: &Batcher, value: f32| {
        let (batcher, rows) = (batcher.clone(), vec![row(&[value])]);
        async move {
            let predicted = batcher.submit(rows, 0, soon(), None).await.unwrap();
            float(&predicted, 0).to_bits() == value.to_bits()
        }
    };
    let threads = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let single = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    for (first, stays) in [(threads(), false), (single(), false), (single(), true)] {
        let batcher = on_model(&onnx::identity(FLOAT, &[N, 1]), 1, CONFIG);
        assert!(first.block_on(ask(&batcher, 1.0)));
        let _idle = stays.then_some(first);
        for (value, other) in [(2.0, threads()), (3.0, single())] {
            assert!(other.block_on(ask(&batcher, value)));
        }
    }
}

type Asked = tokio::task::JoinHandle<Result<Predicted, Failure>>;

fn submit(batcher: &Batcher, values: &[f32], deadline: Instant) -> Asked {
    let batcher = batcher.clone();
    let rows = values.iter().map(|value| row(&[*value])).collect();
    tokio::spawn(async move { batcher.submit(rows, 0, deadline, None).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_from_many_tasks_each_get_their_own_answer() {
    let batcher = on_model(&onnx::identity(FLOAT, &[N, 1]), 2, CONFIG);
    let task = |seed: u64| {
        let batcher = batcher.clone();
        tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed);
            for _ in 0..100 {
                let values: Vec<f32> = (0..random.random_range(1..4))
                    .map(|_| random.random())
                    .collect();
                let rows = values.iter().map(|value| row(&[*value])).collect();
                let priority = random.random_range(0..10);
                let predicted = batcher.submit(rows, priority, soon(), None).await.unwrap();
                let got: Vec<_> = (0..values.len()).map(|i| float(&predicted, i)).collect();
                assert_eq!(got, values);
                assert!((1..=CONFIG.max_size).contains(&predicted.batch_size));
            }
        })
    };
    for task in (0..100).map(task).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let stats = batcher.stats();
    assert_eq!((stats.waiting_rows, stats.sessions_alive), (0, 2));
}

#[tokio::test]
async fn the_batch_mates_of_a_row_that_fails_the_run_are_answered() {
    let config = PolicyConfig {
        max_delay: Duration::from_millis(200),
        ..CONFIG
    };
    let batcher = on_model(&onnx::lookup(), 1, config);
    let ask = |index: i64| {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.submit(vec![row(&[index])], 0, soon(), None).await })
    };
    let asked: Vec<_> = (0..16)
        .map(|i| (i, ask(if i == 5 || i == 11 { 99 } else { i % 3 })))
        .collect();
    for (i, answer) in asked {
        let answer = answer.await.unwrap();
        if i == 5 || i == 11 {
            let Err(Failure::Faulted(fault)) = answer else {
                panic!("expected a fault")
            };
            assert_eq!(
                (fault.kind, fault.stage),
                (FaultKind::Model, Stage::Predict)
            );
        } else {
            let expected = [10.0, 20.0, 30.0][usize::try_from(i % 3).unwrap()];
            assert!((float(&answer.unwrap(), 0) - expected).abs() < f32::EPSILON);
        }
    }
}

#[tokio::test]
async fn a_request_of_more_rows_than_a_batch_keeps_their_order() {
    let batcher = on_model(&onnx::identity(FLOAT, &[N, 1]), 2, CONFIG);
    let values: Vec<f32> = (0..200_u8).map(f32::from).collect();
    let predicted = submit(&batcher, &values, soon()).await.unwrap().unwrap();
    let got: Vec<_> = (0..values.len()).map(|i| float(&predicted, i)).collect();
    assert_eq!(got, values);
}

#[tokio::test]
async fn the_rows_of_a_dropped_request_never_reach_the_model() {
    let mut held = held(CONFIG, |_| {});
    let ahead = submit(&held.batcher, &[1.0], soon());
    held.began.recv().await.unwrap();
    {
        let rows = vec![row(&[2.0_f32]), row(&[3.0_f32])];
        let mut dropped = pin!(held.batcher.submit(rows, 9, soon(), None));
        let polled = dropped
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        assert_eq!(held.batcher.stats().waiting_rows, 2);
    }
    assert_eq!(held.batcher.stats().waiting_rows, 0);
    let behind = submit(&held.batcher, &[4.0], soon());
    (0..2).for_each(|_| held.finish.send(()).unwrap());
    assert_eq!(held.began.recv().await.unwrap(), [4.0]);
    ahead.await.unwrap().unwrap();
    behind.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_panic_during_a_run_is_a_fault_of_the_row_that_causes_it() {
    let mut held = held(CONFIG, |_| {});
    let ahead = submit(&held.batcher, &[0.0], soon());
    held.began.recv().await.unwrap();
    let values = [1.0, 2.0, f32::INFINITY, 4.0, -1.0];
    let asked: Vec<_> = values
        .iter()
        .map(|v| submit(&held.batcher, &[*v], soon()))
        .collect();
    waiting_rows(&held.batcher, values.len()).await;
    (0..32).for_each(|_| held.finish.send(()).unwrap());
    ahead.await.unwrap().unwrap();
    for (value, answer) in values.iter().zip(asked) {
        match answer.await.unwrap() {
            Ok(predicted) => assert!((float(&predicted, 0) - value).abs() < f32::EPSILON),
            Err(Failure::Faulted(fault)) if fault.kind == FaultKind::Model => assert!(*value < 0.0),
            Err(failure) => assert!(value.is_infinite(), "{failure}"),
        }
    }
    assert_eq!(held.began.recv().await.unwrap().len(), values.len());
    assert_eq!(held.batcher.stats().sessions_alive, 1);
}

#[tokio::test]
async fn a_row_that_gets_late_while_its_batch_fails_is_not_run_again() {
    let mut held = held(CONFIG, |_| {});
    let ahead = submit(&held.batcher, &[0.0], soon());
    held.began.recv().await.unwrap();
    let failing = submit(&held.batcher, &[-1.0], soon());
    let deadline = Instant::now() + Duration::from_millis(300);
    let late = submit(&held.batcher, &[2.0], deadline);
    waiting_rows(&held.batcher, 2).await;
    held.finish.send(()).unwrap();
    assert_eq!(held.began.recv().await.unwrap(), [2.0, -1.0]);
    let late = late.await.unwrap().unwrap_err();
    assert_eq!(code(&late), Some(Code::DeadlineExceeded));
    (0..2).for_each(|_| held.finish.send(()).unwrap());
    assert_eq!(held.began.recv().await.unwrap(), [-1.0]);
    failing.await.unwrap().unwrap_err();
    ahead.await.unwrap().unwrap();
}

#[tokio::test]
async fn one_failed_row_fails_its_request_and_frees_the_others_places() {
    let config = PolicyConfig {
        max_size: 1,
        ..CONFIG
    };
    let mut held = held(config, |_| {});
    let failing = submit(&held.batcher, &[-1.0, 1.0, 2.0], soon());
    assert_eq!(held.began.recv().await.unwrap(), [-1.0]);
    held.finish.send(()).unwrap();
    failing.await.unwrap().unwrap_err();
    assert_eq!(held.batcher.stats().waiting_rows, 0);
    // The second row may have left the queue before its request heard of the first.
    held.finish.send(()).unwrap();
    let behind = submit(&held.batcher, &[3.0], soon());
    held.finish.send(()).unwrap();
    behind.await.unwrap().unwrap();
    drop(held.batcher);
    held.thread.join().unwrap();
    while let Ok(batch) = held.began.try_recv() {
        assert!(batch != [2.0], "ran a row of a request that had failed");
    }
}
