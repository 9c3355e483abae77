//! Packages that share a device.

use super::*;

/// Of one row each.
const SINGLE: PolicyConfig = PolicyConfig {
    max_size: 1,
    ..CONFIG
};

#[tokio::test(flavor = "multi_thread")]
async fn packages_take_turns_on_one_core_and_who_used_little_is_next() {
    let device = Device::new(1);
    let on_it = |config| held_on(device.join(Share::default()), LIMIT, config, |_| {});
    let (mut heavy, mut light) = (on_it(SINGLE), on_it(CONFIG));
    let crowd = submit(&heavy.batcher, &[1.0, 2.0, 3.0], soon());
    assert_eq!(heavy.began.recv().await, Some(vec![1.0]));
    let first = submit(&light.batcher, &[7.0], soon());
    waiting_rows(&light.batcher, 1).await;
    // It may be seen waiting before its session asks for the device, which would be the other's again meanwhile.
    let its = &heavy.batcher.0.shared.lanes[0].member;
    until(|| !its.is_alone(Instant::now())).await;
    // What comes while its package waits for the device joins the batch.
    let second = submit(&light.batcher, &[8.0], soon());
    waiting_rows(&light.batcher, 2).await;
    assert_eq!(light.batcher.stats().running_batches, 0);
    heavy.finish.send(()).unwrap();
    assert_eq!(light.began.recv().await, Some(vec![7.0, 8.0]));
    assert!(heavy.began.try_recv().is_err(), "two run at once");
    light.finish.send(()).unwrap();
    for _ in 0..2 {
        heavy.finish.send(()).unwrap();
    }
    for answer in [crowd, first, second] {
        assert!(answer.await.unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_two_cores_runs_two_packages_at_once() {
    let device = Device::new(2);
    let on_it = || held_on(device.join(Share::default()), LIMIT, CONFIG, |_| {});
    let mut both = [on_it(), on_it()];
    let answers = [0, 1].map(|place| submit(&both[place].batcher, &[1.0], soon()));
    for held in &mut both {
        assert_eq!(held.began.recv().await, Some(vec![1.0]));
    }
    for (held, answer) in both.iter().zip(answers) {
        held.finish.send(()).unwrap();
        assert!(answer.await.unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_hangs_does_not_keep_others_from_the_device() {
    let device = Device::new(1);
    let on_it = || held_on(device.join(Share::default()), LIMIT, CONFIG, |_| {});
    let (mut hangs, mut other) = (on_it(), on_it());
    let stuck = submit(&hangs.batcher, &[1.0], soon());
    hangs.began.recv().await.unwrap();
    let answer = submit(&other.batcher, &[2.0], soon());
    assert_eq!(other.began.recv().await, Some(vec![2.0]));
    assert_eq!(hangs.batcher.stats().running_batches, 1, "it goes on");
    for held in [&hangs, &other] {
        held.finish.send(()).unwrap();
    }
    for answer in [stuck, answer] {
        assert!(answer.await.unwrap().is_ok());
    }
}
