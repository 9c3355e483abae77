//! The operators' HTTP, over the wire, of a worker that has worked.

use std::{collections::BTreeMap, fs, path::Path};

use inferq::cli::SchemaName;

use crate::{
    cli::{Packages, run, run_with, sample},
    onnx,
    schemas::misfits,
    worker::{Worker, vhost},
};

/// Of a metric in Prometheus' text format: labels and value.
type Series = Vec<(BTreeMap<String, String>, String)>;

/// Metrics by name, read as the format's specification says; whatever is not of it fails.
fn parse(text: &str) -> (BTreeMap<String, Series>, BTreeMap<String, String>) {
    let (mut series, mut kinds) = (BTreeMap::<String, Series>::new(), BTreeMap::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (what, name) = (words.next().unwrap(), words.next().unwrap());
            let rest = words.next().unwrap().to_owned();
            match what {
                "TYPE" => assert_eq!(kinds.insert(name.to_owned(), rest), None, "{name} twice"),
                "HELP" => assert!(!rest.is_empty(), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (left, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match left.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
            None => (left, ""),
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(name.chars().all(word), "{line}");
        let pairs = labels.split(',').filter(|pair| !pair.is_empty());
        let labels = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap();
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            (key.to_owned(), value.unwrap().to_owned())
        });
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let found = (labels.collect(), value.to_owned());
        series.entry(name.to_owned()).or_default().push(found);
    }
    (series, kinds)
}

/// The value of the series of `name` whose labels include `labels`.
fn value<'a>(series: &'a BTreeMap<String, Series>, name: &str, labels: &[(&str, &str)]) -> &'a str {
    let all = series.get(name).unwrap_or_else(|| panic!("no {name}"));
    let has = |given: &BTreeMap<String, String>| {
        let mut labels = labels.iter();
        labels.all(|(key, value)| given.get(*key).is_some_and(|found| found == value))
    };
    let found = all.iter().find(|(given, _)| has(given));
    &found
        .unwrap_or_else(|| panic!("no {name} {labels:?} in {all:?}"))
        .1
}

#[test]
fn the_pages_of_a_worker_that_has_answered_say_what_it_did() {
    let packages = Packages::of(&["fraud"]);
    let url = vhost();
    let worker = Worker::start(&url, Path::new(packages.path()));
    let (good, bad) = (
        sample("fraud/not-fraud-1.json"),
        sample("fraud/bad-truncated.json"),
    );
    let send = |args: &[&str]| {
        assert_eq!(
            run(&[&["send", "--broker-url", &url], args].concat()).code,
            0
        );
    };
    send(&["fraud", &good, &good, &good, &bad, "--count", "80"]);
    send(&["nobody", &good]);

    let page = |path| worker.get(path).unwrap();
    assert_eq!(page("/livez"), (200, "ok\n".to_owned()));
    assert_eq!(page("/readyz"), (200, "ok\n".to_owned()));
    for (path, code) in [("/", 200), ("/nowhere", 404)] {
        let (found, text) = page(path);
        assert_eq!(found, code);
        for name in ["/livez", "/readyz", "/metrics", "/status"] {
            assert!(text.contains(name), "{path}: {text}");
        }
    }

    // The last reply can arrive before its receipt is settled.
    worker.await_that("idle", |worker| worker.metric("inferq_in_flight") < 1.0);
    let status = worker.status();
    assert_eq!(misfits(SchemaName::Status, &status), [""; 0]);
    assert_eq!(status["packages"][0]["name"], "fraud");
    assert_eq!(status["broker"]["consuming"]["connected"], true);

    let (series, kinds) = parse(&page("/metrics").1);
    let fraud = [("package", "fraud")];
    assert_eq!(value(&series, "inferq_requests_total", &fraud), "80");
    assert_eq!(value(&series, "inferq_outcomes_total", &fraud), "60");
    let malformed = [
        ("package", "fraud"),
        ("code", "malformed_message"),
        ("stage", "decode"),
    ];
    assert_eq!(value(&series, "inferq_rejections_total", &malformed), "20");
    let unknown = [("package", "unknown"), ("code", "unknown_package")];
    assert_eq!(value(&series, "inferq_rejections_total", &unknown), "1");
    // 60 rows, in as many batches as were run.
    assert_eq!(value(&series, "inferq_batch_rows_sum", &fraud), "60");
    let batches = value(&series, "inferq_batch_rows_count", &fraud);
    let largest = [("package", "fraud"), ("le", "+Inf")];
    assert_eq!(
        value(&series, "inferq_batch_rows_bucket", &largest),
        batches
    );
    for (stage, count) in [
        ("decode", "80"),
        ("represent", "60"),
        ("predict", "60"),
        ("decide", "60"),
    ] {
        let labels = [("package", "fraud"), ("stage", stage)];
        let found = value(&series, "inferq_stage_seconds_count", &labels);
        assert_eq!(found, count, "{stage}");
        let sum = value(&series, "inferq_stage_seconds_sum", &labels);
        assert!(sum.parse::<f64>().unwrap() > 0.0, "{stage}");
    }
    assert_eq!(
        value(&series, "inferq_queue_wait_seconds_count", &fraud),
        "60"
    );
    assert_eq!(
        value(&series, "inferq_overhead_seconds_count", &fraud),
        "60"
    );
    let overhead = value(&series, "inferq_overhead_seconds_sum", &fraud);
    assert!(overhead.parse::<f64>().unwrap() > 0.0);
    for queue in ["fraud", "unknown", "died"] {
        let queue = [("package", queue)];
        assert_eq!(value(&series, "inferq_in_flight", &queue), "0");
        assert_eq!(
            value(&series, "inferq_oldest_unsettled_seconds", &queue),
            "0"
        );
    }
    assert_eq!(value(&series, "inferq_published_total", &[]), "81");
    for connection in ["consuming", "publishing"] {
        let connection = [("connection", connection)];
        assert_eq!(value(&series, "inferq_reconnects_total", &connection), "0");
    }
    for (name, kind) in [
        ("inferq_requests_total", "counter"),
        ("inferq_batch_rows", "histogram"),
        ("inferq_stage_seconds", "histogram"),
        ("inferq_in_flight", "gauge"),
        ("inferq_reconnects_total", "counter"),
    ] {
        assert_eq!(kinds.get(name).map(String::as_str), Some(kind), "{name}");
    }
}

/// A package whose model gives no number for what is below zero.
fn roots(dir: &Path) {
    fs::create_dir_all(dir.join("golden")).unwrap();
    let graph = onnx::Graph::new()
        .input("x", onnx::FLOAT, &[onnx::N, 1])
        .output("y", onnx::FLOAT, &[onnx::N, 1])
        .node("Sqrt", &["x"], &["y"]);
    graph.write(dir);
    for (file, text) in [
        (
            "package.toml",
            "format = 1\nname = 'roots'\nversion = '1.0.0'\ndescription = 'Roots.'\nowner = 'tests'\n\
             [input.x]\ndtype = 'float32'\ncolumns = [{ pointer = '/x' }]\n\
             [outcome.y.number]\noutput = 'y'\n",
        ),
        (
            "request.schema.json",
            r#"{"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}"#,
        ),
        (
            "response.schema.json",
            r#"{"type": "object", "properties": {"y": {"type": "number"}}}"#,
        ),
        (
            "golden/four.json",
            r#"{"request": {"x": 4}, "outcome": {"y": 2.0}}"#,
        ),
    ] {
        fs::write(dir.join(file), text).unwrap();
    }
}

#[test]
fn faults_are_counted_by_kind_and_stage() {
    let packages = Packages::of(&[]);
    roots(&Path::new(packages.path()).join("roots/1.0.0"));
    let url = vhost();
    let worker = Worker::start(&url, Path::new(packages.path()));
    let args = ["send", "roots", "-", "--broker-url", &url];
    let lines = run_with(&args, b"{\"x\": -1}\n").lines();
    assert_eq!(lines[0]["body"]["code"], "model_fault");
    let (series, _) = parse(&worker.get("/metrics").unwrap().1);
    let fault = [("package", "roots"), ("stage", "decide")];
    assert_eq!(value(&series, "inferq_faults_total", &fault), "1");
    let letter = [("package", "roots"), ("reason", "model_fault")];
    assert_eq!(value(&series, "inferq_dead_letters_total", &letter), "1");
}
