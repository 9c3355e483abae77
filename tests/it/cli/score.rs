//! `inferq score`: files in, one line a request out.

use std::fs;

use super::*;

fn read(name: &str) -> Value {
    serde_json::from_slice(&fs::read(sample(name)).unwrap()).unwrap()
}

#[test]
fn every_kind_of_file_is_scored_in_the_order_given() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let good = read("fraud/not-fraud-1.json");
    let msgpack = rmp_serde::to_vec(&good).unwrap();
    let lines = format!("{good}\n\n{{\"amount\": 1}}\nnonsense\n");
    fs::write(path("three.ndjson"), lines).unwrap();
    fs::write(path("one.msgpack"), &msgpack).unwrap();
    fs::write(path("two.msgpack"), [msgpack.clone(), msgpack].concat()).unwrap();
    let done = run(&[
        "score",
        &package("fraud"),
        &path("three.ndjson"),
        &path("one.msgpack"),
        &path("two.msgpack"),
        &sample("fraud/highly-suspicious-1.json"),
    ]);
    let lines = done.lines();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let file = line["file"].as_str().unwrap().rsplit('/').next().unwrap();
            let body = &line["body"];
            let what = body["verdict"].as_str().or(body["code"].as_str());
            (file, line["status"].as_str().unwrap(), what.unwrap())
        })
        .collect();
    let expected = [
        ("three.ndjson:1", "outcome", "not_fraud"),
        ("three.ndjson:3", "rejection", "invalid_request"),
        ("three.ndjson:4", "rejection", "malformed_message"),
        ("one.msgpack", "outcome", "not_fraud"),
        ("two.msgpack:1", "outcome", "not_fraud"),
        ("two.msgpack:2", "outcome", "not_fraud"),
        ("highly-suspicious-1.json", "outcome", "highly_suspicious"),
    ];
    assert_eq!(told, expected);
    assert_eq!(done.err, "");
}

#[test]
fn pictures_are_scored_from_files_and_from_standard_input() {
    let (png, jpeg) = (sample("digits/3-native.png"), sample("digits/7-jpeg.jpg"));
    let lines = run(&["score", &package("digits"), &png, &jpeg]).lines();
    let digits: Vec<_> = lines.iter().map(|line| &line["body"]["digit"]).collect();
    assert_eq!(digits, [3, 7]);
    for args in [
        &["score", &package("digits"), "-"][..],
        &["score", &package("digits")],
    ] {
        let lines = run_with(args, &fs::read(&png).unwrap()).lines();
        assert_eq!(
            (&lines[0]["body"]["digit"], &lines[0]["file"]),
            (&3.into(), &"-".into())
        );
    }
}

#[test]
fn a_long_file_never_overfills_the_packages_own_queue() {
    let packages = Packages::of(&[]);
    let dir = packages.changed("fraud", "max_size = 64", "max_size = 2\nqueue_limit = 3");
    let good = read("fraud/not-fraud-1.json").to_string() + "\n";
    let lines = run_with(
        &["score", dir.to_str().unwrap(), "-"],
        good.repeat(3000).as_bytes(),
    )
    .lines();
    assert_eq!(lines.len(), 3000);
    assert!(lines.iter().all(|line| line["status"] == "outcome"));
    assert_eq!(lines[2999]["file"], "-:3000");
}

#[test]
fn what_cannot_be_read_or_is_broken_is_65_and_a_missing_library_69() {
    let fraud = package("fraud");
    run(&["score", &fraud, "/nowhere.json"]).failed(65, &["/nowhere.json"]);
    run(&["score", &fraud, "Cargo.lock"]).failed(65, &["Cargo.lock"]);
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a.csv");
    fs::write(&odd, "1,2").unwrap();
    run(&["score", &fraud, odd.to_str().unwrap()]).failed(65, &["a.csv", ".ndjson"]);
    run(&["score", &fraud, "-"]).failed(65, &["no requests"]);
    let payment = sample("fraud/not-fraud-1.json");
    run(&["score", "/nowhere", &payment]).failed(65, &["/nowhere"]);
    let mut command = inferq(&["score", &fraud, &payment]);
    command.env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so");
    let done = Done::of(&command.output().unwrap());
    done.failed(69, &["/nowhere/libonnxruntime.so", "make setup"]);
}

#[test]
fn onnx_runtime_keeps_nothing_to_tell_its_maker() {
    let home = TempDir::new().unwrap();
    let mut command = inferq(&[
        "score",
        &package("fraud"),
        &sample("fraud/not-fraud-1.json"),
    ]);
    command
        .env_remove("ORT_DISABLE_TELEMETRY")
        .env("HOME", home.path());
    assert!(command.output().unwrap().status.success());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_result_over_the_packages_limit_is_rejected_as_a_worker_does() {
    let packages = Packages::of(&[]);
    let dir = packages.changed("fraud", "[limits]", "[limits]\nreply_bytes = 16");
    let payment = sample("fraud/not-fraud-1.json");
    let lines = run(&["score", dir.to_str().unwrap(), &payment]).lines();
    let (status, body) = (&lines[0]["status"], &lines[0]["body"]);
    assert_eq!(
        (status, &body["code"]),
        (&"rejection".into(), &"result_too_large".into())
    );
    assert_eq!(body["stage"], "encode");
}

#[test]
fn json_with_a_byte_order_mark_on_standard_input_is_json() {
    let payment = fs::read(sample("fraud/not-fraud-1.json")).unwrap();
    let marked = [&b"\xef\xbb\xbf"[..], &payment].concat();
    let lines = run_with(&["score", &package("fraud"), "-"], &marked).lines();
    assert_eq!(lines[0]["body"]["verdict"], "not_fraud");
}
