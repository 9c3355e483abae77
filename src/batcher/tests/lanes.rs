//! A package on several devices: one queue, and whichever is free takes what waits.

use super::{
    pipeline::{Gpu, of_two, on_gpus},
    *,
};
use crate::batcher::lane::Lane;

const OF_FOUR: PolicyConfig = PolicyConfig {
    max_size: 4,
    max_delay: Duration::ZERO,
    queue_limit: 100,
};

fn on_two(config: PolicyConfig) -> (Batcher, [Gpu; 2]) {
    on_gpus(config, [(); 2].map(|()| Device::gpu()), Box::new(|_| {}))
}

/// A run of so many rows takes ten seconds, and hardly ever fifteen.
fn runs_are_long(batcher: &Batcher, rows: usize) {
    let long = BatchObservation {
        rows,
        run: Duration::from_secs(10),
        steps: Steps::default(),
    };
    batcher.0.shared.ran(long, true);
}

/// Until no session has anything to do.
async fn all_sleep(batcher: &Batcher) {
    let sleeps = |lane: &Arc<Lane>| lane.seats().sleeping > 0;
    until(|| batcher.0.shared.lanes.iter().all(sleeps)).await;
}

/// The next that is launched there.
async fn next(batcher: &Batcher, gpu: &mut Gpu) -> Vec<f32> {
    let next = tokio::time::timeout(Duration::from_secs(10), gpu.launched.recv()).await;
    next.unwrap_or_else(|_| {
        panic!(
            "nothing is launched: {:?} {:?}",
            batcher.stats(),
            batcher.0.shared.lanes
        )
    })
    .unwrap()
}

/// Which of them a batch is launched on: first that, then the other.
async fn launched(gpus: &mut [Gpu; 2]) -> (&mut Gpu, &mut Gpu) {
    let [one, other] = gpus;
    tokio::select! {
        _ = one.launched.recv() => (one, other),
        _ = other.launched.recv() => (other, one),
    }
}

/// Lets all end that is under way or waits.
async fn end<const N: usize>(batcher: Batcher, gpus: [Gpu; N], answers: Vec<Asked>) {
    for gpu in &gpus {
        (0..10).for_each(|_| gpu.finish.send(()).unwrap());
    }
    for answer in answers {
        assert!(answer.await.unwrap().is_ok());
    }
    batcher.close().await;
    for gpu in gpus {
        gpu.thread.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_device_has_as_many_batches_as_it_takes_and_who_is_done_has_the_next() {
    let (batcher, mut gpus) = on_two(of_two());
    let pair = || submit(&batcher, &[1.0, 2.0], soon());
    let mut answers: Vec<_> = std::iter::repeat_with(pair).take(5).collect();
    for gpu in &mut gpus {
        for _ in 0..2 {
            next(&batcher, gpu).await;
        }
    }
    waiting_rows(&batcher, 2).await;
    assert_eq!(batcher.stats().running_batches, 4);
    gpus[1].finish.send(()).unwrap();
    next(&batcher, &mut gpus[1]).await;
    assert!(gpus[0].launched.try_recv().is_err());
    answers.push(pair());
    gpus[0].finish.send(()).unwrap();
    next(&batcher, &mut gpus[0]).await;
    end(batcher, gpus, answers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_wait_behind_a_batch_leaves_at_once_for_a_device_that_is_free() {
    let (batcher, mut gpus) = on_two(OF_FOUR);
    runs_are_long(&batcher, 1);
    let mut answers = vec![submit(&batcher, &[1.0], soon())];
    let (busy, free) = launched(&mut gpus).await;
    answers.push(submit(&batcher, &[2.0], soon()));
    assert_eq!(next(&batcher, free).await, [2.0]);
    answers.push(submit(&batcher, &[3.0], soon()));
    waiting_rows(&batcher, 1).await;
    // Told before it is noted.
    all_sleep(&batcher).await;
    {
        let (shared, now) = (&batcher.0.shared, Instant::now());
        let state = shared.state();
        let due = shared.due(&state, now).unwrap();
        let later = |lane: &Arc<Lane>| shared.leaves(&state, lane, due, now) > now;
        assert!(shared.lanes.iter().all(later), "it would only wait there");
    }
    busy.finish.send(()).unwrap();
    assert_eq!(next(&batcher, busy).await, [3.0]);
    end(batcher, gpus, answers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_batch_goes_behind_another_only_where_no_device_is_idle() {
    let (batcher, mut gpus) = on_two(of_two());
    runs_are_long(&batcher, 1);
    let pair = || submit(&batcher, &[1.0, 2.0], soon());
    all_sleep(&batcher).await;
    let mut answers = vec![pair()];
    let (busy, free) = launched(&mut gpus).await;
    all_sleep(&batcher).await;
    answers.push(pair());
    next(&batcher, free).await;
    assert!(busy.launched.try_recv().is_err());
    answers.extend([pair(), pair()]);
    for gpu in &mut gpus {
        next(&batcher, gpu).await;
    }
    end(batcher, gpus, answers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_device_refuses_nothing_that_a_free_one_has_in_time() {
    let (batcher, mut gpus) = on_two(OF_FOUR);
    runs_are_long(&batcher, 1);
    all_sleep(&batcher).await;
    let first = submit(&batcher, &[1.0], soon());
    let (_busy, free) = launched(&mut gpus).await;
    all_sleep(&batcher).await;
    // In time where nothing is ahead, and late behind what has just begun.
    let deadline = Instant::now() + Duration::from_secs(20);
    let second = submit(&batcher, &[2.0], deadline);
    assert_eq!(next(&batcher, free).await, [2.0]);
    end(batcher, gpus, vec![first, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_package_on_one_device_keeps_nothing_from_the_other() {
    let devices = [(); 2].map(|()| Device::gpu());
    let another = devices[0].join(Share::default());
    let turns = [(); 2].map(|()| another.turn(Duration::from_secs(60), Instant::now()));
    let (batcher, mut gpus) = on_gpus(of_two(), devices, Box::new(|_| {}));
    runs_are_long(&batcher, 2);
    let pair = || submit(&batcher, &[1.0, 2.0], soon());
    let mut answers = vec![pair(), pair()];
    for _ in 0..2 {
        next(&batcher, &mut gpus[1]).await;
    }
    answers.push(pair());
    waiting_rows(&batcher, 2).await;
    gpus[1].finish.send(()).unwrap();
    next(&batcher, &mut gpus[1]).await;
    assert!(gpus[0].launched.try_recv().is_err());
    answers.push(pair());
    waiting_rows(&batcher, 2).await;
    drop(turns);
    next(&batcher, &mut gpus[0]).await;
    end(batcher, gpus, answers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_late_behind_what_runs_is_for_who_is_free_sooner_while_one_is() {
    let devices = [(); 2].map(|()| Device::gpu());
    let another = devices[1].join(Share::default());
    let its = another.turn(Duration::from_secs(60), Instant::now());
    let (batcher, mut gpus) = on_gpus(of_two(), devices, Box::new(|_| {}));
    runs_are_long(&batcher, 2);
    let shared = &batcher.0.shared;
    let [long, short] = [&shared.lanes[0], &shared.lanes[1]];
    let pair = || submit(&batcher, &[1.0, 2.0], soon());
    all_sleep(&batcher).await;
    let answers = vec![pair(), pair()];
    for gpu in &mut gpus {
        next(&batcher, gpu).await;
    }
    all_sleep(&batcher).await;
    shared.launched(long, 2, Duration::ZERO);
    // In time behind one run, and not behind two.
    let deadline = Instant::now() + Duration::from_secs(30);
    let late = submit(&batcher, &[3.0, 4.0], deadline);
    until(|| short.seats().asking == 1).await;
    {
        let (state, now) = (shared.state(), Instant::now());
        let own = long.seats().ahead.left(now);
        assert_eq!(shared.leaves(&state, long, now, now), now + own);
    }
    assert!(gpus[0].launched.try_recv().is_err());
    // Now it is in time nowhere.
    (0..2).for_each(|_| shared.launched(short, 2, Duration::ZERO));
    let refused = tokio::time::timeout(Duration::from_secs(10), late).await;
    let refused = refused.expect("at once").unwrap().unwrap_err();
    assert_eq!(code(&refused), Some(Code::DeadlineExceeded));
    shared.landed(long);
    (0..2).for_each(|_| shared.landed(short));
    drop(its);
    end(batcher, gpus, answers).await;
}
