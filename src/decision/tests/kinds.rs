use serde_json::json;

use super::{compile, fault, floats, outcome, outcome_of, plan, port, rejection, rows};
use crate::{
    decision::Plan,
    fault::{Failure, FaultKind},
    message::{
        object::Object,
        rejection::{Code, Stage},
    },
    tensor::{Dtype, Values},
};

const LABELS: &str = "[outcome.verdict.class]\noutput = 'p'\nlabels = ['a', 'b', 3]\n";

fn fraud() -> Plan {
    plan(
        "
        [outcome.verdict.class]
        output = 'p'
        index = 1
        score_field = 'score'
        thresholds = [
          { from = 0.0, label = 'not_fraud' },
          { from = 0.5, label = 'suspicious' },
          { from = { pointer = '/policy/high', default = 0.9 }, label = 'highly_suspicious' },
        ]
        uncertain = { label = 'uncertain', from = 0.45, to = 0.55 }
        ",
    )
}

#[test]
fn the_greatest_score_wins_and_prints_as_it_was_meant() {
    let plan = plan(&format!("{LABELS}score_field = 'confidence'"));
    let scored = outcome(&plan, &floats(&[0.01, 0.97, 0.02]));
    assert_eq!(scored.to_string(), r#"{"confidence":0.97,"verdict":"b"}"#);
    assert_eq!(
        outcome(&plan, &floats(&[0.1, 0.1, 0.8]))["verdict"],
        json!(3)
    );
    assert_eq!(outcome(&plan, &floats(&[0.5, 0.5, 0.0]))["verdict"], "a");
    assert_eq!(plan.outputs(), ["p"]);
}

#[test]
fn a_weak_winner_is_uncertain() {
    let plan = plan(&format!(
        "{LABELS}uncertain = {{ label = '?', below = 0.7 }}"
    ));
    assert_eq!(outcome(&plan, &floats(&[0.69, 0.3, 0.0]))["verdict"], "?");
    assert_eq!(outcome(&plan, &floats(&[0.7, 0.3, 0.0]))["verdict"], "a");
}

#[test]
fn a_score_falls_into_its_interval() {
    for (score, label) in [
        (-3.0, "not_fraud"),
        (0.449, "not_fraud"),
        (0.45, "uncertain"),
        (0.549, "uncertain"),
        (0.55, "suspicious"),
        (0.899, "suspicious"),
        // As f32 a little less than 0.9; but it prints as 0.9.
        (0.9, "highly_suspicious"),
        (7.0, "highly_suspicious"),
    ] {
        let found = outcome(&fraud(), &floats(&[0.0, score, 0.0]));
        assert_eq!(found["verdict"], label, "{score}");
    }
}

#[test]
fn a_request_can_move_a_threshold() {
    let rows = floats(&[0.0, 0.8, 0.0]);
    let found = outcome_of(&fraud(), json!({"policy": {"high": 0.8}}), &rows).unwrap();
    assert_eq!(found, json!({"score": 0.8, "verdict": "highly_suspicious"}));
    for request in [json!({"policy": null}), json!({"policy": {"high": null}})] {
        let found = outcome_of(&fraud(), request, &rows).unwrap();
        assert_eq!(found["verdict"], "suspicious");
    }
    let picture = Object::Picture(bytes::Bytes::new());
    let none = fraud().thresholds(&picture).unwrap();
    let found = fraud().decide(&none, &rows).unwrap();
    assert_eq!(found["verdict"], "suspicious");
    let no = rejection(outcome_of(
        &fraud(),
        json!({"policy": {"high": "0.8"}}),
        &rows,
    ));
    assert_eq!(
        (&no.code, no.stage),
        (&Code::InvalidRequest, Stage::Validate)
    );
    assert_eq!(no.errors[0].pointer, "/policy/high");
}

#[test]
fn a_threshold_can_be_looked_up_by_a_text_of_the_request() {
    let plan = plan(
        "
        [outcome.verdict.class]
        output = 'p'
        thresholds = [
          { label = 'low' },
          { from = { pointer = '/currency', values = { EUR = 0.8 }, default = 0.6 }, label = 'high' },
        ]
        ",
    );
    let of = |request| outcome_of(&plan, request, &floats(&[0.7, 0.0, 0.0]));
    assert_eq!(of(json!({"currency": "EUR"})).unwrap()["verdict"], "low");
    assert_eq!(of(json!({"currency": "USD"})).unwrap()["verdict"], "high");
    assert_eq!(of(json!({})).unwrap()["verdict"], "high");
    let no = rejection(of(json!({"currency": 1})));
    assert_eq!(
        no.errors[0].detail,
        "expected text, which a threshold of the decision depends on"
    );
}

#[test]
fn integer_and_text_outputs_name_their_label() {
    let plan = |dtype, labels: &str| {
        let manifest = format!("[outcome.v.class]\noutput = 'p'\n{labels}");
        compile(&manifest, &[port("p", dtype, &[])]).unwrap()
    };
    let ints = |n| rows(1, Values::Int(vec![n]));
    let text = |s: &str| rows(1, Values::Text(vec![s.to_owned()]));
    let free = plan(Dtype::Int64, "");
    assert_eq!(outcome(&free, &ints(7)), json!({"v": 7}));
    let indexed = plan(Dtype::Int64, "labels = ['x', 'y']");
    assert_eq!(outcome(&indexed, &ints(1)), json!({"v": "y"}));
    for index in [2, -1] {
        assert_eq!(
            fault(&indexed, &ints(index)),
            "output \"p\", row 0: it names no known label"
        );
    }
    assert_eq!(
        outcome(&plan(Dtype::String, ""), &text("x")),
        json!({"v": "x"})
    );
    let known = plan(Dtype::String, "labels = ['x', 'y']");
    assert_eq!(outcome(&known, &text("y")), json!({"v": "y"}));
    assert!(fault(&known, &text("z")).contains("no known label"));
}

#[test]
fn numbers_are_scaled_clipped_and_rounded() {
    let of = |lines: &str, x: f32| {
        let manifest = format!("[outcome.n.number]\noutput = 'p'\n{lines}");
        outcome(&plan(&manifest), &floats(&[x, 0.0, 0.0]))["n"].to_string()
    };
    assert_eq!(of("", 0.1), "0.1");
    assert_eq!(of("scale = 10\noffset = 0.5", 0.1), "1.5");
    assert_eq!(of("exp = true\nround = 3", 1.0), "2.718");
    assert_eq!(of("exp = true\nclip = [0.0, 1e6]", 1000.0), "1000000.0");
    assert_eq!(of("clip = [0.0, 1.0]", -3.0), "0.0");
    assert_eq!(of("round = 2", 1.23456), "1.23");
    assert_eq!(of("round = 0", 2.5), "3");
    assert_eq!(of("round = 2", -0.001), "0.0");
    assert_eq!(of("round = 15", 3e38), "3e+38");
    assert_eq!(of("index = 2", 9.0), "0.0");
    let exp = plan("[outcome.n.number]\noutput = 'p'\nexp = true");
    assert!(fault(&exp, &floats(&[1000.0, 0.0, 0.0])).contains("not finite"));
}

#[test]
fn integers_stay_integers_and_doubles_exact() {
    let manifest = "[outcome.n.number]\noutput = 'p'\n[outcome.v.vector]\noutput = 'p'";
    let ints = compile(manifest, &[port("p", Dtype::Int64, &[Some(2)])]).unwrap();
    let found = outcome(&ints, &rows(2, Values::Int(vec![i64::MAX, -1])));
    assert_eq!(found, json!({"n": i64::MAX, "v": [i64::MAX, -1]}));
    let doubles = compile(manifest, &[port("p", Dtype::Float64, &[Some(2)])]).unwrap();
    let found = outcome(&doubles, &rows(2, Values::Double(vec![0.1 + 0.2, 1.0])));
    assert_eq!(found, json!({"n": 0.1 + 0.2, "v": [0.1 + 0.2, 1.0]}));
}

#[test]
fn a_vector_prints_short() {
    let plan = plan("[outcome.v.vector]\noutput = 'p'");
    let found = outcome(&plan, &floats(&[0.97, -0.0, 1e-7]));
    assert_eq!(found.to_string(), r#"{"v":[0.97,0.0,1e-7]}"#);
}

#[test]
fn the_best_labels_come_best_first() {
    let manifest = "[outcome.top.top_k]\noutput = 'p'\nk = 2\nlabels = ['a', 'b', 'c']\n";
    let found = outcome(&plan(manifest), &floats(&[0.2, 0.6, 0.2]));
    let expected = json!([{"label": "b", "score": 0.6}, {"label": "a", "score": 0.2}]);
    assert_eq!(found["top"], expected);
    let skipping = plan(&format!("{manifest}skip = 1"));
    let found = outcome(&skipping, &floats(&[0.2, 0.6, 0.2]));
    let expected = json!([{"label": "a", "score": 0.2}, {"label": "c", "score": 0.2}]);
    assert_eq!(found["top"], expected);
}

#[test]
fn the_first_rule_that_a_row_meets_rejects_it() {
    let plan = plan(
        "
        [outcome.n.number]
        output = 'p'
        [[reject]]
        output = 'p'
        index = 'max'
        below = 0.2
        code = 'nothing_found'
        [[reject]]
        output = 'p'
        above = 0.99
        code = 'needs_human'
        [rejection.nothing_found]
        title = 'Nothing was found'
        [rejection.needs_human]
        title = 'A human must look at this'
        retryable = true
        ",
    );
    assert_eq!(
        plan.codes().into_iter().collect::<Vec<_>>(),
        ["needs_human", "nothing_found"]
    );
    let no = rejection(outcome_of(&plan, json!({}), &floats(&[0.1, 0.1, 0.19])));
    assert_eq!(
        (no.code.as_str().as_ref(), no.stage, no.detail.as_str()),
        ("package:nothing_found", Stage::Decide, "Nothing was found")
    );
    let no = rejection(outcome_of(&plan, json!({}), &floats(&[1.0, 0.1, 0.1])));
    assert!(no.code.as_str() == "package:needs_human" && no.code.retryable());
    assert!(outcome_of(&plan, json!({}), &floats(&[0.99, 0.1, 0.1])).is_ok());
}

#[test]
fn with_each_there_is_a_result_for_every_row_in_order() {
    let plan = plan(
        "
        each = true
        [outcome.n.number]
        output = 'p'
        [[reject]]
        output = 'p'
        index = 'min'
        below = 0
        code = 'odd'
        [rejection.odd]
        title = 'Odd'
        ",
    );
    let three = |last| rows(3, Values::Float(vec![1.0, 0.0, 0.0, 2.0, 0.0, last]));
    let found = outcome(&plan, &three(0.0));
    assert_eq!(found, json!({"results": [{"n": 1.0}, {"n": 2.0}]}));
    let no = rejection(outcome_of(&plan, json!({}), &three(-1.0)));
    assert_eq!(no.detail, "Odd (element 1)");
}

#[test]
fn what_is_not_finite_or_missing_is_the_model_s_fault() {
    let all = "[outcome.a.class]\noutput = 'p'\nlabels = ['a', 'b', 'c']";
    let one = "[outcome.a.number]\noutput = 'p'\nindex = 1";
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let rows = floats(&[1.0, 0.0, bad]);
        assert_eq!(
            fault(&plan(all), &rows),
            "output \"p\", row 0: element 2 is not finite"
        );
        assert!(outcome_of(&plan(one), json!({}), &rows).is_ok());
        let rows = floats(&[1.0, bad, 0.0]);
        assert!(fault(&plan(one), &rows).contains("element 1 is not finite"));
    }
    assert!(fault(&plan(all), &floats(&[1.0])).contains("1 elements for 3 labels"));
    assert!(fault(&plan(one), &floats(&[1.0])).contains("element 1 is missing"));
    let elsewhere = compile(
        "[outcome.a.number]\noutput = 'q'",
        &[port("q", Dtype::Float32, &[])],
    );
    assert!(fault(&elsewhere.unwrap(), &floats(&[1.0])).contains("\"q\" has no row 0"));
}

#[test]
fn a_request_of_one_row_gets_one_row() {
    let plan = plan("[outcome.n.number]\noutput = 'p'");
    let Err(Failure::Faulted(fault)) = outcome_of(&plan, json!({}), &[]) else {
        panic!("no rows gave an outcome")
    };
    assert_eq!(fault.kind, FaultKind::Internal);
}
