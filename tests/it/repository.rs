//! Repositories of tiny models: what goes live, what does not, and what neither may do to the others.

use std::{fs, path::Path};

use inferq::{
    batcher,
    engine::{Engine, Request},
    fault::{Failure, FaultKind},
    message::rejection::Code,
};
use serde_json::{Value, json};

use crate::onnx::{self, Attr, FLOAT, Graph, N, STEPS, identity};

/// Writes `y = model(x)` into `<root>/<place>`, with one golden example.
fn package(root: &Path, place: &str, (name, version): (&str, &str), model: &Graph, more: &str) {
    let dir = root.join(place);
    fs::create_dir_all(dir.join("golden")).unwrap();
    let write = |file: &str, text: String| fs::write(dir.join(file), text).unwrap();
    write(
        "package.toml",
        format!(
            "format = 1\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"For tests.\"\nowner = \"tests\"\n\
             {more}\n[input.x]\ncolumns = [{{ pointer = \"/x\" }}]\n[outcome.y.number]\noutput = \"y\"\n"
        ),
    );
    write("request.schema.json", json!({}).to_string());
    let most = json!({"properties": {"y": {"maximum": 100}}});
    write("response.schema.json", most.to_string());
    let golden = json!({"request": {"x": 2.0}, "outcome": {"y": 2.0}});
    write("golden/one.json", golden.to_string());
    model.write(&dir);
}

fn same() -> Graph {
    identity(FLOAT, &[N, 1])
}

fn open(root: &Path) -> Engine {
    // Which sizes are best is not what is asked here.
    let unmeasured = batcher::Config {
        measure_ms: 0,
        ..batcher::Config::default()
    };
    Engine::measured(root, None, &unmeasured).unwrap()
}

fn live(engine: &Engine) -> Vec<String> {
    let live = engine.repository().live();
    live.map(|live| format!("{}@{}", live.package.name(), live.package.version()))
        .collect()
}

/// Writes `y = model(x)` over sequences of negative numbers.
fn sequences(root: &Path, name: &str, model: &Graph) {
    package(root, &format!("{name}/1.0.0"), (name, "1.0.0"), model, "");
    let dir = root.join(name).join("1.0.0");
    let manifest = fs::read_to_string(dir.join("package.toml")).unwrap();
    let sequence = "sequence = { pointer = \"/x\", longest = 64 }";
    let manifest = manifest.replace("columns = [{ pointer = \"/x\" }]", sequence);
    fs::write(dir.join("package.toml"), manifest).unwrap();
    // As long as can be: no row is longer.
    let longest: Vec<f64> = (1..=64).map(|n| f64::from(n) - 65.0).collect();
    let golden = json!({"request": {"x": longest}, "outcome": {"y": -1.0}});
    fs::write(dir.join("golden/one.json"), golden.to_string()).unwrap();
}

#[tokio::test]
async fn rows_of_different_lengths_share_batches_where_the_model_bears_their_padding() {
    let root = tempfile::tempdir().unwrap();
    sequences(root.path(), "greatest", &onnx::greatest());
    sequences(root.path(), "last", &onnx::greatest_of_negatives());
    let engine = open(root.path());
    assert_eq!(live(&engine), ["greatest@1.0.0", "last@1.0.0"]);
    let sizes = |name| {
        let live = engine.repository().resolve(name, None).unwrap();
        (live.max_size() > 1, live.warnings.join("; "))
    };
    // Zeros are greater than all that is asked about.
    let (batched, warnings) = sizes("greatest");
    assert!(
        !batched && warnings.contains("with a mask that it heeds"),
        "{warnings}"
    );
    assert_eq!(sizes("last"), (true, String::new()));
    let ask = |name: &'static str, length: i32| {
        let x: Vec<_> = (-2 * length..-length).collect();
        engine.score(Request::new(name, json!({"x": x})))
    };
    for name in ["greatest", "last"] {
        let answers =
            futures::future::join_all([64, 1, 40, 3, 64, 2].map(|length| ask(name, length)));
        let lengths = [64, 1, 40, 3, 64, 2].map(|length| -f64::from(length) - 1.0);
        for (answer, y) in answers.await.into_iter().zip(lengths) {
            assert_eq!(answer.result.unwrap()["y"], y);
        }
    }
    let Err(Failure::Rejected(rejection)) = ask("last", 65).await.result else {
        panic!("65 steps of 64");
    };
    assert_eq!(
        rejection.detail,
        "/x: expected at most 64 elements, found 65"
    );
}

#[tokio::test]
async fn a_model_of_which_nothing_shows_that_it_bears_padding_runs_rows_one_by_one() {
    let root = tempfile::tempdir().unwrap();
    // Takes sequences of 32 and no others.
    let model = Graph::new()
        .input("x", FLOAT, &[N, STEPS])
        .output("y", FLOAT, &[N, 1])
        .weights("places", &[1, 32], &[0.0; 32])
        .node("Add", &["x", "places"], &["placed"])
        .node_attrs(
            ("", "ReduceMax"),
            &["placed"],
            "y",
            &[("axes", Attr::Ints(&[1]))],
        );
    sequences(root.path(), "just", &model);
    let of_32: Vec<f64> = (1..=32).map(|n| f64::from(n) - 33.0).collect();
    let golden = json!({"request": {"x": of_32}, "outcome": {"y": -1.0}});
    let file = root.path().join("just/1.0.0/golden/one.json");
    fs::write(file, golden.to_string()).unwrap();
    let engine = open(root.path());
    let live = engine.repository().resolve("just", None).unwrap();
    let [longest, unpadded] = live.warnings.as_slice() else {
        panic!("{:?}", live.warnings);
    };
    assert!(longest.contains("sequences of longest = 64 zeros do not run"));
    assert!(unpadded.contains("nothing shows that padding changes no answer"));
    assert_eq!(live.max_size(), 1);
}

#[test]
fn an_output_that_is_as_long_as_the_batch_s_longest_row_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let model = Graph::new()
        .input("x", FLOAT, &[N, STEPS])
        .output("y", FLOAT, &[N, STEPS])
        .node("Identity", &["x"], &["y"]);
    sequences(root.path(), "each", &model);
    let engine = open(root.path());
    let refused = format!("{:?}", engine.repository().refused());
    assert!(refused.contains("output y"), "{refused}");
    assert!(refused.contains("a pooled output"), "{refused}");
}

#[tokio::test]
async fn two_folders_cannot_both_be_one_version() {
    let root = tempfile::tempdir().unwrap();
    package(root.path(), "a/blue", ("fraud", "1.0.0"), &same(), "");
    package(root.path(), "b/green", ("fraud", "1.0.0"), &same(), "");
    package(root.path(), "fraud/1.0.0", ("fraud", "1.0.0"), &same(), "");
    let engine = open(root.path());
    assert_eq!(live(&engine), ["fraud@1.0.0"]);
    let refused = engine.repository().refused();
    assert_eq!(refused.len(), 2);
    assert!(
        refused.iter().all(|refused| refused.faults.len() == 2),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_threshold_that_cannot_be_read_is_refused_before_the_model_runs() {
    let root = tempfile::tempdir().unwrap();
    let class = "[outcome.verdict.class]\noutput = \"y\"\nindex = 0\nthresholds = [\n\
        { from = 0.0, label = \"low\" },\n\
        { from = { pointer = \"/high\", default = 1.0 }, label = \"high\" },\n]\n";
    package(
        root.path(),
        "moved/1.0.0",
        ("moved", "1.0.0"),
        &same(),
        class,
    );
    let golden = json!({
        "request": {"x": 2.0, "high": 3.0},
        "outcome": {"y": 2.0, "verdict": "low"},
    });
    fs::write(
        root.path().join("moved/1.0.0/golden/one.json"),
        golden.to_string(),
    )
    .unwrap();
    let engine = open(root.path());
    let ask = |high: Value| engine.score(Request::new("moved", json!({"x": 2.0, "high": high})));
    let answer = ask(json!(1.5)).await;
    assert_eq!(answer.result.unwrap()["verdict"], "high");
    assert!(answer.timings.predict.is_some());
    let answer = ask(json!("1.5")).await;
    let Err(Failure::Rejected(rejection)) = answer.result else {
        panic!("{:?}", answer.result);
    };
    assert_eq!(rejection.code, Code::InvalidRequest);
    assert!(rejection.detail.starts_with("/high: expected a number"));
    assert_eq!(answer.timings.predict, None);
}

#[tokio::test]
async fn a_folder_without_a_package_is_refused_and_the_others_are_live() {
    let root = tempfile::tempdir().unwrap();
    package(root.path(), "fraud/1.0.0", ("fraud", "1.0.0"), &same(), "");
    fs::create_dir_all(root.path().join("digits/2.0.0")).unwrap();
    let engine = open(root.path());
    assert_eq!(live(&engine), ["fraud@1.0.0"]);
    let told = engine.repository().refused()[0].to_string();
    assert!(
        told.contains("digits/2.0.0: package.toml: found nothing"),
        "{told}"
    );

    fs::remove_dir_all(root.path().join("fraud")).unwrap();
    let told = Engine::open(root.path(), None).unwrap_err().to_string();
    assert!(
        told.contains("no package found") && told.contains("digits/2.0.0"),
        "{told}"
    );
}

#[tokio::test]
async fn an_outcome_that_the_response_schema_forbids_is_a_model_fault_without_values() {
    let root = tempfile::tempdir().unwrap();
    package(root.path(), "same/1", ("same", "1"), &same(), "");
    let engine = open(root.path());
    let score = |x: f64| engine.score(Request::new("same", json!({ "x": x })));
    assert_eq!(score(100.0).await.result.unwrap(), json!({"y": 100.0}));
    let Err(Failure::Faulted(fault)) = score(77_889.0).await.result else {
        panic!("an outcome that is not valid went out");
    };
    assert_eq!(fault.kind, FaultKind::Model);
    assert!(
        fault.detail.contains("response.schema.json allows, at /y"),
        "{fault}"
    );
    assert!(!fault.detail.contains("77889"), "{fault}");
}

#[tokio::test]
async fn one_golden_example_shows_that_a_model_lets_rows_change_each_other() {
    let root = tempfile::tempdir().unwrap();
    // x - max(x) + x: the batch's own maximum is what equal rows all have.
    let model = Graph::new()
        .input("x", FLOAT, &[N, 1])
        .output("y", FLOAT, &[N, 1])
        .node_ints("ReduceMax", &["x"], "max", &[("keepdims", 0)])
        .node("Sub", &["x", "max"], &["less"])
        .node("Add", &["less", "x"], &["y"]);
    package(root.path(), "mates/1", ("mates", "1"), &model, "");
    package(
        root.path(),
        "same/1",
        ("same", "1"),
        &onnx::identity(FLOAT, &[N, 1]),
        "",
    );
    let engine = open(root.path());
    let score = |x: f64| engine.score(Request::new("mates", json!({ "x": x })));
    let together = futures::future::join_all((0..8).map(|x| score(x.into()))).await;
    let outcomes: Vec<Value> = together.into_iter().map(|a| a.result.unwrap()).collect();
    let expected: Vec<_> = (0..8).map(|x| json!({"y": f64::from(x)})).collect();
    assert_eq!(outcomes, expected);
    let sizes: Vec<_> = engine
        .repository()
        .live()
        .map(|live| live.max_size())
        .collect();
    assert_eq!(sizes, [1, 64]);
}

#[tokio::test]
async fn a_model_that_runs_more_rows_than_it_is_given_is_warned_of() {
    let root = tempfile::tempdir().unwrap();
    let model = identity(FLOAT, &[16, 1]);
    package(
        root.path(),
        "wide/1",
        ("wide", "1"),
        &model,
        "[batch]\nmax_size = 4",
    );
    let engine = open(root.path());
    let warnings: Vec<_> = engine
        .repository()
        .live()
        .flat_map(|live| live.warnings.clone())
        .collect();
    assert!(
        warnings[0].starts_with("model.onnx: every run has 16 rows"),
        "{warnings:?}"
    );

    let endless = identity(FLOAT, &[1 << 40, 1]);
    package(root.path(), "endless/1", ("endless", "1"), &endless, "");
    let engine = open(root.path());
    assert_eq!(live(&engine), ["wide@1"]);
    let told = engine.repository().refused()[0].to_string();
    assert!(
        told.contains("a batch fixed at 1099511627776 rows"),
        "{told}"
    );
}

#[tokio::test]
async fn a_request_is_answered_by_the_version_that_it_pins() {
    let root = tempfile::tempdir().unwrap();
    package(root.path(), "same/1.0.0", ("same", "1.0.0"), &same(), "");
    package(root.path(), "same/1.1.0", ("same", "1.1.0"), &same(), "");
    let engine = open(root.path());
    let ask = async |package: &str, version: Option<&str>| {
        let mut request = Request::new(package, json!({ "x": 2.0 }));
        request.version = version.map(str::to_owned);
        let answer = engine.score(request).await;
        let code = match answer.result {
            Ok(_) => None,
            Err(Failure::Rejected(rejection)) => Some(rejection.code.as_str().into_owned()),
            Err(Failure::Faulted(fault)) => panic!("{fault}"),
        };
        (answer.version, code)
    };
    let by = |version: &str| (Some(version.to_owned()), None);
    let refused = |code: &str| (None, Some(code.to_owned()));
    assert_eq!(ask("same", None).await, by("1.1.0"));
    assert_eq!(ask("same", Some("1.0.0")).await, by("1.0.0"));
    assert_eq!(ask("same", Some("9")).await, refused("unknown_version"));
    assert_eq!(ask("other", None).await, refused("unknown_package"));
}
