//! Manifest against model.

use super::{broken::TOML, *};

struct Case {
    way: &'static str,
    change: fn(&mut Signature),
    key: &'static str,
    words: &'static str,
}

#[test]
fn every_disagreement_with_the_model_is_explained() {
    let cases = [
        Case {
            way: "an input of another name",
            change: |s| s.inputs[0].name = "feature".into(),
            key: "input.features",
            words: "did you mean \"feature\"?",
        },
        Case {
            way: "an input that is not described",
            change: |s| s.inputs.push(port("mask", Dtype::Bool, &[Some(1)])),
            key: "input.mask",
            words: "add [input.mask]",
        },
        Case {
            way: "too few columns",
            change: |s| s.inputs[0].row_shape = vec![Some(6)],
            key: "input.features.columns",
            words: "add columns for 2 more",
        },
        Case {
            way: "too many columns",
            change: |s| s.inputs[0].row_shape = vec![Some(3)],
            key: "input.features.columns",
            words: "take 1 away",
        },
        Case {
            way: "another dtype",
            change: |s| s.inputs[0].dtype = Dtype::Float64,
            key: "input.features.dtype",
            words: "write dtype = \"float64\"",
        },
        Case {
            way: "an output of another name",
            change: |s| s.outputs[0].name = "probability".into(),
            key: "outcome.verdict.class.output",
            words: "did you mean \"probability\"?",
        },
        Case {
            way: "an output that no rule can read",
            change: |s| s.outputs.clear(),
            key: "reject[0].output",
            words: "expected one of the model's outputs",
        },
        Case {
            way: "more classes than labels",
            change: |s| s.outputs[0].row_shape = vec![Some(3)],
            key: "outcome.verdict.class.labels",
            words: "3",
        },
    ];
    for Case {
        way,
        change,
        key,
        words,
    } in cases
    {
        let mut signature = signature();
        change(&mut signature);
        let files = Folder::valid().read().unwrap();
        let faults = files.bind(&signature).map(|_| ()).expect_err(way);
        expect(&faults, "package.toml", key, words);
    }
}

#[test]
fn an_open_axis_is_a_fault_of_the_model() {
    let mut signature = signature();
    signature.inputs[0].row_shape = vec![None, Some(4)];
    signature.outputs[0].name = "other".into();
    let files = Folder::valid().read().unwrap();
    let faults = files.bind(&signature).unwrap_err();
    let words = "found rows of shape [?, 4], expected a fixed number";
    expect(&faults, "model.onnx", "input features", words);
    // What does not hang on it is told too.
    expect(&faults, "package.toml", "outcome.verdict.class.output", "");
}

#[test]
fn a_mask_has_as_many_steps_as_its_sequence() {
    let folder = Folder::valid();
    let inputs = "[input.ids]\nsequence = { pointer = \"/ids\", longest = 8 }\n\n[input.mask]\nmask = true\n\n";
    folder.edit(
        TOML,
        "[input.features]",
        &format!("{inputs}[input.features]"),
    );
    let bind = |ids, mask| {
        let mut signature = signature();
        let inputs = [("ids", Dtype::Float32, ids), ("mask", Dtype::Int64, mask)];
        let inputs = inputs.map(|(name, dtype, steps)| port(name, dtype, &[steps]));
        signature.inputs.extend(inputs);
        folder.read().unwrap().bind(&signature)
    };
    let words = "found 8 steps, where input";
    let faults = bind(None, Some(8)).unwrap_err();
    expect(&faults, "model.onnx", "input mask", words);
    let faults = bind(Some(8), None).unwrap_err();
    expect(&faults, "model.onnx", "input ids", words);
    for both in [None, Some(8)] {
        bind(both, both).expect("as many of each");
    }
}

#[test]
fn a_golden_picture_needs_an_image_input() {
    let folder = Folder::valid();
    folder.write("golden/a.png", "a picture");
    let text = r#"{ "picture": "a.png", "rejection": "unrepresentable" }"#;
    folder.write("golden/third.json", text);
    let faults = folder.read().unwrap().bind(&signature()).unwrap_err();
    expect(
        &faults,
        "golden/third.json",
        "/picture",
        "write \"request\"",
    );
}

#[test]
fn a_golden_rejection_must_be_one_that_something_gives() {
    let folder = Folder::valid();
    let rule = "[rejection.other]\ntitle = \"Other\"\n[rejection.needs_human]";
    folder.edit("package.toml", "[rejection.needs_human]", rule);
    folder.edit("golden/second.json", "needs_human", "other");
    let faults = folder.read().unwrap().bind(&signature()).unwrap_err();
    let words = "expected one of \"package:needs_human\"";
    expect(&faults, "golden/second.json", "/rejection", words);
}

#[test]
fn a_bound_package_says_what_its_manifest_says() {
    let folder = Folder::valid();
    let package = folder.package();
    assert_eq!((package.name(), package.version()), ("scores", "1.0.0"));
    assert_eq!(package.digest(), folder.read().unwrap().digest());
    let model = std::fs::metadata(package.model()).unwrap().len();
    assert!(package.bytes() > model, "all files");
    assert_eq!(package.layout().bytes(0), 16);
    assert_eq!(package.limits().max_rows, 1);
    assert_eq!(package.limits().request_bytes, 1 << 20);
    assert_eq!(package.batch().max_delay().as_micros(), 2000);
    assert_eq!(package.sessions(), None);
}

#[test]
fn with_each_a_request_may_have_64_rows() {
    let folder = Folder::valid();
    folder.edit("package.toml", "owner", "each = \"/items\"\nowner");
    let files = Package::draft(folder.path()).unwrap();
    assert_eq!(files.manifest().limits().max_rows, 64);
}

#[test]
fn what_no_memory_holds_is_a_fault_with_the_size_that_fits() {
    let folder = Folder::valid();
    let bind = |change: fn(&mut Signature)| {
        let mut model = signature();
        change(&mut model);
        folder.read().unwrap().bind(&model).unwrap_err()
    };
    let fixed = bind(|s| s.inputs[0].batch = BatchAxis::Fixed(1 << 40));
    expect(
        &fixed,
        "model.onnx",
        "",
        "a batch fixed at 1099511627776 rows",
    );
    let pictures = bind(|s| s.inputs[0].row_shape = vec![Some(3), Some(2048), Some(2048)]);
    expect(
        &pictures,
        TOML,
        "batch.max_size",
        "write max_size = 21 or less",
    );
    let endless = bind(|s| s.inputs[0].row_shape = vec![Some(1 << 62), Some(1 << 62)]);
    expect(
        &endless,
        "model.onnx",
        "",
        "export the model with smaller inputs",
    );
    assert!(
        [fixed, pictures, endless]
            .iter()
            .all(|faults| faults.len() == 1)
    );
}

#[test]
fn what_is_most_likely_a_mistake_is_told_and_nothing_else_is() {
    let folder = Folder::valid();
    assert_eq!(folder.package().doubts(), [] as [String; 0]);
    let band = "uncertain = { label = \"bad\", below = 0.6 }\nscore_field";
    folder.edit(TOML, "score_field", band);
    let more =
        "[rejection.odd]\ntitle = \"Odd\"\n[sessions]\ncount = 64\nthreads = 256\n[rejection.n";
    folder.edit(TOML, "[rejection.n", more);
    folder.edit("response.schema.json", "\"minimum\"", "\"minimun\"");
    let doubts = folder.package().doubts();
    let starts = [
        "package.toml: rejection.odd: nothing gives this code",
        "package.toml: outcome.verdict.class.uncertain.label: ",
        "package.toml: sessions: found 64 sessions of 256 threads",
        "response.schema.json: /properties/score/minimun: ",
    ];
    assert_eq!(doubts.len(), starts.len(), "{doubts:?}");
    for (doubt, start) in doubts.iter().zip(starts) {
        assert!(doubt.starts_with(start), "{doubt}");
    }
}
