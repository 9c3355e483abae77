//! Codes that no single bad request provokes.

use serde_json::{Value, json};

use super::{
    assert_at_rest,
    case::Case,
    clients::{CLIENTS, Conversation, hold},
    dead_letters, packages, payment, queues,
};
use crate::worker::{BOUND, Worker, samples, vhost};

fn tally(name: &str, rows: usize, value: f64) -> Case {
    laborious(name, rows, value, 1)
}

/// Keeps the model busy for so many turns of a loop.
fn laborious(name: &str, rows: usize, value: f64, work: u64) -> Case {
    let items: Value = (0..rows)
        .map(|_| json!({ "x": value, "work": work }))
        .collect();
    Case::object(name, "tally", json!({ "items": items }))
        .with("message_id", name)
        .direct(true)
}

/// Credit is for what surely finds room: it is one after requests of many rows, and grows with those of one row each.
fn await_credit_for_three(client: &str, url: &str, worker: &Worker) {
    let credit = || {
        let status = worker.status();
        of_tally(&status["broker"]["queues"])["credit"].as_u64()
    };
    let start = std::time::Instant::now();
    while credit() < Some(3) {
        assert!(start.elapsed() < BOUND, "{}", worker.status());
        let few = (0..128).map(|at| tally(&format!("{at} of one row"), 1, 1.0));
        hold(client, url, &few.collect::<Vec<_>>());
    }
}

/// What a list of packages or queues says of `tally`.
fn of_tally(list: &Value) -> &Value {
    let mut each = list.as_array().unwrap().iter();
    let found = each.find(|each| each["name"] == "tally" || each["queue"] == "inferq.tally");
    found.unwrap()
}

#[test]
fn a_result_too_large_a_full_queue_and_a_model_that_gives_nan_have_their_codes() {
    let url = vhost();
    let repository = packages::repository();
    let worker = Worker::start(&url, repository.path());
    let logarithm = |name, x| Case::object(name, "logarithm", json!({ "x": x }));
    let cases = [
        tally("64 long numbers", 64, 0.123_456_7).gets("result_too_large"),
        logarithm("a logarithm", 1.0).says("y", 0.0),
        logarithm("no logarithm", -1.0).gets("model_fault"),
        logarithm("no logarithm, in MessagePack", -1.0)
            .with("content_type", "application/msgpack")
            .gets("model_fault"),
        tally("more rows than it takes", 65, 1.0)
            .gets("request_too_large")
            .at("/items"),
    ];
    for client in CLIENTS {
        hold(client, &url, &cases);
        await_credit_for_three(client, &url, &worker);
        // While the model is busy 40 rows wait, and 40 more find no room, whichever are which.
        let busy = laborious("keeps it busy", 1, 1.0, 8_000_000);
        let working = Conversation::start(client, &url, std::slice::from_ref(&busy));
        worker.await_that("busy", |worker| {
            of_tally(&worker.status()["packages"])["running_batches"] == 1
        });
        // One right after the other: soon after the first, which tells of many rows, the credit shrinks.
        let both = ["some", "others"].map(|name| tally(name, 40, 1.0));
        let replies = Conversation::start(client, &url, &both).replies();
        let are = |case: &Case| replies[&case.name].faults(case).is_empty();
        let fit = both.iter().filter(|case| are(case)).count();
        let refused = both.clone().map(|case| case.gets("overloaded"));
        let refused = refused.iter().filter(|case| are(case)).count();
        assert_eq!((fit, refused), (1, 1), "{client}: {replies:?}");
        assert!(working.replies()["keeps it busy"].faults(&busy).is_empty());
    }
    assert_at_rest(&worker, &url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let buried = runtime.block_on(dead_letters(&url, "logarithm", 4));
    assert_eq!(buried, ["model_fault"; 4]);
}

#[test]
fn what_expires_in_the_queue_before_a_worker_comes_is_answered_too() {
    let url = vhost();
    // makes the queues
    let mut first = Worker::start(&url, &samples());
    first.signal("TERM");
    assert!(first.wait().success());
    let name = |at: usize, client| format!("{at} of {client}");
    let conversations = CLIENTS.map(|client| {
        let case = |at| {
            Case::object(&name(at, client), "fraud", payment())
                .with("expiration", "1")
                .with("message_id", name(at, client))
                .header(
                    "traceparent",
                    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                )
                .direct(at % 2 == 0)
                .gets("deadline_exceeded")
        };
        let cases: Vec<_> = (0..4).map(case).collect();
        (Conversation::start(client, &url, &cases), cases)
    });
    let start = std::time::Instant::now();
    while !queues(&url).contains(&("inferq.died".to_owned(), 8)) {
        assert!(start.elapsed() < BOUND, "{:?}", queues(&url));
    }
    let worker = Worker::start(&url, &samples());
    for (conversation, cases) in conversations {
        let replies = conversation.replies();
        for case in cases {
            let faults = replies[&case.name].faults(&case);
            // no version was asked, and no step was taken
            let faults: Vec<_> = faults
                .iter()
                .filter(|fault| {
                    !fault.contains("inferq-version in") && !fault.contains("server-timing in")
                })
                .collect();
            assert!(faults.is_empty(), "{faults:?}");
        }
    }
    assert_at_rest(&worker, &url);
}
