//! The table of bad input: each row its answer, and the worker none the worse for it.

use super::{
    assert_at_rest, bad_bodies, bad_pictures, bad_properties,
    case::Case,
    clients::{CLIENTS, hold},
    queues,
};
use crate::worker::{Worker, samples, vhost};

fn table() -> Vec<Case> {
    [
        bad_bodies::unreadable(),
        bad_bodies::oversized(),
        bad_bodies::of_another_kind(),
        bad_bodies::invalid(),
        bad_pictures::unrepresentable(),
        bad_pictures::refused_by_the_package(),
        bad_pictures::readable(),
        bad_pictures::invalid(),
        bad_properties::unknown(),
        bad_properties::late(),
        bad_properties::malformed(),
        bad_properties::harmless(),
    ]
    .concat()
}

#[test]
fn bad_input_gets_the_right_code_and_never_silence_and_the_worker_is_none_the_worse() {
    let url = vhost();
    let worker = Worker::start(&url, &samples());
    let cases = table();
    for (client, direct) in CLIENTS.into_iter().zip([false, true]) {
        let cases: Vec<_> = cases
            .iter()
            .map(|case| case.clone().direct(direct))
            .collect();
        hold(client, &url, &cases);
    }
    assert_at_rest(&worker, &url);
    let buried = |(name, count): &(String, u64)| *count > 0 && name.starts_with("inferq.dead.");
    assert!(!queues(&url).iter().any(buried), "{}", worker.log());
}
