//! `inferq send`: replies, or a summary of them.

use super::*;
use crate::worker::{Worker, vhost};

#[test]
fn replies_are_printed_as_they_come_and_many_are_summed_up() {
    let packages = Packages::of(&["fraud"]);
    let url = vhost();
    let _worker = Worker::start(&url, Path::new(packages.path()));
    let (good, bad) = (
        sample("fraud/not-fraud-1.json"),
        sample("fraud/bad-truncated.json"),
    );
    let send = |args: &[&str]| run(&[&["send", "--broker-url", &url], args].concat());

    let mut lines = send(&["fraud", &good, &bad]).lines();
    lines.sort_by_key(|line| line["status"].to_string());
    assert_eq!(lines[0]["body"]["verdict"], "not_fraud");
    assert_eq!(lines[0]["file"], good.as_str());
    assert!(lines[0]["latency_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(lines[1]["body"]["code"], "malformed_message");

    let code = |args: &[&str]| send(args).lines()[0]["body"]["code"].clone();
    assert_eq!(
        code(&["fraud", &good, "--deadline-ms", "-1"]),
        "deadline_exceeded"
    );
    assert_eq!(
        code(&["fraud", &good, "--version-pin", "9.9.9"]),
        "unknown_version"
    );
    assert_eq!(code(&["nobody", &good]), "unknown_package");

    let done = send(&[
        "fraud",
        &good,
        &good,
        &good,
        &bad,
        "--count",
        "400",
        "--rate",
        "500",
        "--concurrency",
        "64",
    ]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    let words: Vec<Vec<&str>> = done
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(words[0], ["300", "outcome"]);
    assert_eq!(words[1], ["100", "rejection", "malformed_message"]);
    let (rate, took): (f64, f64) = (words[2][0].parse().unwrap(), words[2][3].parse().unwrap());
    assert!(
        took >= 399.0 / 500.0 && rate <= 502.0,
        "faster than asked: {}",
        done.out
    );
    let names: Vec<&str> = words[3..]
        .iter()
        .map(|line| *line.last().unwrap())
        .collect();
    assert_eq!(names, ["p50", "p90", "p99", "p99.9", "max"]);
}

#[test]
fn a_request_without_a_reply_is_69() {
    let url = vhost();
    let good = sample("fraud/not-fraud-1.json");
    let send =
        |args: &[&str]| run(&[&["send", "fraud", &good, "--broker-url", &url], args].concat());
    send(&[]).failed(69, &["inferq topology declare", "exchange"]);
    assert_eq!(
        run(&[
            "topology",
            "declare",
            "--package",
            "fraud",
            "--broker-url",
            &url
        ])
        .code,
        0
    );
    let done = send(&["--timeout", "0.5"]);
    done.failed(
        69,
        &["1 of 1 requests got no reply", "inferq.fraud", "--timeout"],
    );
    assert!(done.out.contains("\"status\":\"timeout\""), "{}", done.out);
    let done = send(&["--timeout", "0.5", "--count", "3"]);
    done.failed(69, &["3 of 3"]);
    assert!(done.out.contains("3  timeout"), "{}", done.out);
    for count in ["0", "-1", "many"] {
        let args = [
            "send",
            "fraud",
            &good,
            "--broker-url",
            &url,
            "--count",
            count,
        ];
        run(&args).failed(64, &["--count"]);
    }
    let nobody = ["send", "fraud", &good, "--broker-url", "amqp://127.0.0.1:1"];
    run(&nobody).failed(69, &["no broker at 127.0.0.1:1", "broker.url"]);
}
