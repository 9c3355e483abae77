//! Golden examples run through a model made by hand: the first input is ln(1 + amount).

use serde_json::json;

use super::*;
use crate::{
    fault::Fault,
    tensor::{Output, Outputs, Steps, Values},
};

fn outputs(bad: impl Iterator<Item = f32>) -> Outputs {
    let values: Vec<_> = bad.flat_map(|p| [1.0 - p, p]).collect();
    Outputs {
        rows: values.len() / 2,
        outputs: vec![Output {
            name: "probabilities".into(),
            row_shape: vec![2],
            values: Values::Float(values),
        }],
        steps: Steps::default(),
    }
}

fn score(row: &Row) -> f32 {
    let amount = f32::from_ne_bytes(row.bytes[..4].try_into().unwrap());
    if amount > 5.0 { 0.995 } else { 0.25 }
}

fn faithful(rows: &[&Row]) -> Outputs {
    outputs(rows.iter().map(|row| score(row)))
}

#[test]
fn examples_run_alone_then_in_full_batches_of_themselves_of_all_and_of_strangers() {
    let package = Folder::valid().package();
    let mut batches = Vec::new();
    let sensitive = package
        .rehearse(|rows| {
            let scores = rows.iter().map(|row| score(row) > 0.9);
            batches.push(scores.collect::<Vec<_>>());
            Ok(faithful(rows))
        })
        .unwrap();
    assert_eq!(sensitive, None);
    let mixed: Vec<_> = (0..64).map(|i| i % 2 == 1).collect();
    let reversed: Vec<_> = (0..64).map(|i| i % 2 == 0).collect();
    let expected = [
        vec![false],
        vec![true],
        vec![false; 64],
        vec![true; 64],
        mixed,
        reversed,
    ];
    let (company, strange) = batches.split_at(expected.len());
    assert_eq!(company, expected);
    let (alone, amid) = strange.split_at(5);
    assert!(alone.iter().all(|batch| batch.len() == 1));
    assert_eq!(
        amid.len(),
        4,
        "each example ahead of strangers and behind them"
    );
    assert!(amid.iter().all(|batch| batch.len() == 64));
    assert!(amid[2][0] && amid[3][63]);
}

/// The mean is taken away and put back: nothing changes unless rows differ.
fn centred(rows: &[&Row]) -> Outputs {
    let amounts = || {
        rows.iter()
            .map(|row| f32::from_ne_bytes(row.bytes[..4].try_into().unwrap()))
    };
    let first = amounts().next().unwrap();
    let shifts: Vec<_> = amounts()
        .map(|amount| (amount - first).abs().min(0.1))
        .collect();
    let shift = shifts.iter().sum::<f32>() / 64.0;
    outputs(rows.iter().map(|row| score(row) + shift))
}

#[test]
fn one_example_is_enough_to_find_out_that_rows_change_each_other() {
    let folder = Folder::valid();
    folder.remove("golden/second.json");
    let sensitive = folder.package().rehearse(|rows| Ok(centred(rows))).unwrap();
    let Some(BatchSensitive::Changed { file, rows: 64, .. }) = sensitive else {
        panic!("{sensitive:?}");
    };
    assert_eq!(file, "golden/first.json");
}

#[test]
fn strangers_that_the_model_does_not_run_alone_say_nothing() {
    let folder = Folder::valid();
    let picky = |rows: &[&Row]| {
        let known = |row: &&Row| {
            let amount = f32::from_ne_bytes(row.bytes[..4].try_into().unwrap());
            (amount - 2.5_f32.ln()).abs() < 0.1 || (amount - 9001_f32.ln()).abs() < 0.1
        };
        if rows.iter().all(known) {
            Ok(faithful(rows))
        } else {
            Err(Fault::model(Stage::Predict, "no such place"))
        }
    };
    assert_eq!(folder.package().rehearse(picky), Ok(None));
    folder.remove("golden/second.json");
    let alone = folder.package().rehearse(picky);
    assert_eq!(alone, Ok(Some(BatchSensitive::Untried)));
}

#[test]
fn an_example_that_fails_alone_is_a_fault() {
    let folder = Folder::valid();
    folder.edit("golden/first.json", "0.75", "0.74");
    folder.edit("golden/second.json", "9000", "9");
    let faults = folder
        .package()
        .rehearse(|rows| Ok(faithful(rows)))
        .unwrap_err();
    let words = "found 0.75, expected 0.74 ± 0.0001";
    expect(&faults, "golden/first.json", "/outcome/score", words);
    let words = "found an outcome, expected the rejection package:needs_human";
    expect(&faults, "golden/second.json", "/rejection", words);
}

#[test]
fn an_example_within_its_tolerance_passes() {
    let folder = Folder::valid();
    let wide = "\"tolerance\": 0.02, \"request\"";
    folder.edit("golden/first.json", "\"request\"", wide);
    folder.edit("golden/first.json", "0.75", "0.74");
    let package = folder.package();
    assert_eq!(package.rehearse(|rows| Ok(faithful(rows))), Ok(None));
}

#[test]
fn a_model_that_fails_is_told_by_every_example() {
    let package = Folder::valid().package();
    let broken = |_: &[&Row]| Err(Fault::model(Stage::Predict, "out of cheese"));
    let faults = package.rehearse(broken).unwrap_err();
    assert_eq!(faults.len(), 2);
    expect(&faults, "golden/first.json", "/outcome", "out of cheese");
}

#[test]
fn where_batch_mates_change_an_answer_rows_run_alone() {
    let package = Folder::valid().package();
    // As dynamic quantisation does: an outlier takes precision from its mates.
    let sensitive = package.rehearse(|rows| {
        let outlier = rows.iter().any(|row| score(row) > 0.9) && rows.len() > 1;
        let shift = if outlier { 0.001 } else { 0.0 };
        Ok(outputs(rows.iter().map(|row| score(row) + shift)))
    });
    let sensitive = sensitive.unwrap().unwrap();
    let told = sensitive.to_string();
    assert!(
        told.starts_with("golden/first.json is right alone but not in a batch of 64"),
        "{told}"
    );
    assert!(told.contains("run one by one"), "{told}");
}

#[test]
fn a_model_that_takes_one_row_only_runs_them_alone() {
    let package = Folder::valid().package();
    let sensitive = package.rehearse(|rows| match rows {
        [_] => Ok(faithful(rows)),
        _ => Err(Fault::model(Stage::Predict, "a wrong number of rows")),
    });
    let told = sensitive.unwrap().unwrap().to_string();
    assert!(
        told.contains("a batch of 64 with it fails (a wrong number of rows)"),
        "{told}"
    );
    assert!(told.contains("batch axis dynamic all the way"), "{told}");
}

#[test]
fn a_package_that_runs_rows_alone_is_not_tried_in_company() {
    let folder = Folder::valid();
    let one = "[batch]\nmax_size = 1\n[input.features]";
    folder.edit("package.toml", "[input.features]", one);
    let result = folder.package().rehearse(|rows| {
        assert_eq!(rows.len(), 1);
        Ok(faithful(rows))
    });
    assert_eq!(result, Ok(None));
}

#[test]
fn an_outcome_that_the_response_schema_forbids_is_a_fault() {
    let folder = Folder::valid();
    folder.edit("package.toml", "score_field = \"score\"\n", "");
    folder.edit("golden/first.json", ", \"score\": 0.75", "");
    folder.edit("response.schema.json", ", \"score\"]", "]");
    let package = folder.package();
    assert_eq!(package.rehearse(|rows| Ok(faithful(rows))), Ok(None));

    // The example says less than the model gives, and the schema knows that only of the latter.
    folder.edit(
        "response.schema.json",
        "\"maximum\": 1",
        "\"maximum\": 0.75",
    );
    folder.edit("package.toml", "labels", "score_field = \"score\"\nlabels");
    let golden = "\"outcome\": { \"score\": 0.75,";
    folder.edit("golden/first.json", "\"outcome\": {", golden);
    let drifting = |rows: &[&Row]| Ok(outputs(rows.iter().map(|row| score(row) - 0.00005)));
    let faults = folder.package().rehearse(drifting).unwrap_err();
    let words = "the response schema allows";
    expect(&faults, "golden/first.json", "/outcome/score", words);
}

#[test]
fn labels_are_compared_exactly_and_numbers_within_the_tolerance() {
    for (expected, found, differs) in [
        (
            json!({"a": [1, "x", 0.5]}),
            json!({"a": [1, "x", 0.50004]}),
            None,
        ),
        (
            json!({"a": [1, "x", 0.5]}),
            json!({"a": [1, "x", 0.6]}),
            Some("/a/2"),
        ),
        (json!(1000), json!(1001), Some("")),
        (json!(1000.0), json!(1000.05), None),
        (json!(1000.0), json!(1000), None),
        (json!(1), json!(0.99995), None),
        (json!("3"), json!(3), Some("")),
        (json!({"a/b": 1}), json!({}), Some("/a~1b")),
        (json!({}), json!({"c": 1}), Some("/c")),
        (json!([1]), json!([1, 2]), Some("")),
        (json!(null), json!(false), Some("")),
    ] {
        let difference = difference(&expected, &found, 1e-4);
        let at = difference.as_ref().map(|d| d.pointer.as_str());
        assert_eq!(at, differs, "{expected} {found}");
    }
}
