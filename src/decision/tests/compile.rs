use super::{compile, port};
use crate::{decision::OutcomeSpec, tensor::Dtype};

/// The only fault of a manifest whose model has outputs of floats, a single float, an integer and text.
fn fault(manifest: &str) -> String {
    let outputs = [
        port("probabilities", Dtype::Float32, &[Some(3)]),
        port("score", Dtype::Float32, &[Some(1)]),
        port("label", Dtype::Int64, &[]),
        port("name", Dtype::String, &[Some(1)]),
        port("open", Dtype::Float32, &[None]),
    ];
    match compile(manifest, &outputs) {
        Ok(_) => String::new(),
        Err(faults) => {
            assert_eq!(faults.len(), 1, "{faults:#?}");
            faults[0].to_string()
        }
    }
}

fn class(lines: &str) -> String {
    fault(&format!("[outcome.v.class]\n{lines}"))
}

#[test]
fn an_outcome_needs_fields_whose_outputs_exist() {
    assert!(fault("").starts_with("outcome: found nothing"));
    assert_eq!(
        class("output = 'probabilites'\nlabels = ['a']"),
        "outcome.v.class.output: found \"probabilites\", expected one of the model's outputs: \"probabilities\", \"score\", \"label\", \"name\", \"open\"; did you mean \"probabilities\"?"
    );
}

#[test]
fn classes_that_cannot_be_are_explained() {
    for (lines, expected) in [
        (
            "output = 'probabilities'",
            "outcome.v.class: found neither labels nor thresholds",
        ),
        (
            "output = 'probabilities'\nlabels = ['a', 'b']",
            "outcome.v.class.labels: found 2 labels, expected 3, the elements of a row of \"probabilities\"",
        ),
        (
            "output = 'probabilities'\nlabels = ['a', 'b', 'a']",
            "outcome.v.class.labels[2]: found \"a\" again, as in labels[0]",
        ),
        (
            "output = 'open'\nlabels = []",
            "outcome.v.class.labels: found an empty list",
        ),
        (
            "output = 'score'\nlabels = ['a', 'b']",
            "outcome.v.class.labels: found 2 labels, expected 1, the elements of a row of \"score\"; write thresholds instead",
        ),
        (
            "output = 'score'\nlabels = ['a']\nthresholds = [{ label = 'a' }]",
            "outcome.v.class.thresholds: found it beside labels",
        ),
        (
            "output = 'probabilities'\nindex = 0\nlabels = ['a', 'b', 'c']",
            "outcome.v.class.index: found it beside labels",
        ),
        (
            "output = 'probabilities'\nindex = 3\nthresholds = [{ label = 'a' }]",
            "outcome.v.class.index: found 3, expected less than 3",
        ),
        (
            "output = 'score'\nthresholds = []",
            "outcome.v.class.thresholds: found an empty list",
        ),
        (
            "output = 'score'\nthresholds = [{ from = 0.2, label = 'a' }]",
            "outcome.v.class.thresholds[0].from: found a limit below which no label is",
        ),
        (
            "output = 'score'\nthresholds = [{ label = 'a' }, { label = 'b' }]",
            "outcome.v.class.thresholds[1].from: found nothing",
        ),
        (
            "output = 'score'\nthresholds = [{ label = 'a' }, { from = 0.5, label = 'b' }, { from = { pointer = '/x', default = 0.1 }, label = 'c' }, { from = 0.5, label = 'd' }]",
            "outcome.v.class.thresholds[3].from: found 0.5, expected more than 0.5",
        ),
        (
            "output = 'score'\nthresholds = [{ label = 'a' }, { from = nan, label = 'b' }]",
            "outcome.v.class.thresholds[1].from: found NaN",
        ),
        (
            "output = 'score'\nthresholds = [{ label = 'a' }, { from = { pointer = 'x', default = 0.1 }, label = 'b' }]",
            "outcome.v.class.thresholds[1].from.pointer: found \"x\"",
        ),
        (
            "output = 'score'\nthresholds = [{ label = 'a' }]\nuncertain = { label = 'u', below = 0.1 }",
            "outcome.v.class.uncertain: found label, below, expected label, from and to",
        ),
        (
            "output = 'score'\nthresholds = [{ label = 'a' }]\nuncertain = { label = 'u', from = 0.6, to = 0.4 }",
            "outcome.v.class.uncertain: found from = 0.6, to = 0.4",
        ),
        (
            "output = 'probabilities'\nlabels = ['a', 'b', 'c']\nuncertain = { label = 'u', from = 0.1, to = 0.2 }",
            "outcome.v.class.uncertain: found label, from, to, expected label and below",
        ),
        (
            "output = 'name'\nthresholds = [{ label = 'a' }]",
            "outcome.v.class.output: found \"name\", which holds text",
        ),
        (
            "output = 'name'\nlabels = ['a', 2]",
            "outcome.v.class.labels[1]: found an integer",
        ),
        (
            "output = 'label'\nscore_field = 's'",
            "outcome.v.class.score_field: found it on an output that names the label itself",
        ),
        (
            "output = 'label'\nuncertain = { label = 'u', below = 0.1 }",
            "outcome.v.class.uncertain: found it on an output that names the label itself",
        ),
        (
            "output = 'probabilities'\nlabels = ['a', 'b', 'c']\nscore_field = 'v'",
            "outcome.v.class.score_field: found \"v\" again",
        ),
    ] {
        let found = class(lines);
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    for lines in [
        "output = 'open'\nlabels = ['a', 'b']",
        "output = 'label'\nlabels = ['a', 'b']",
        "output = 'name'",
    ] {
        assert_eq!(class(lines), "");
    }
}

#[test]
fn other_kinds_that_cannot_be_are_explained() {
    for (manifest, expected) in [
        (
            "[outcome.v.number]\noutput = 'name'",
            "outcome.v.number.output: found \"name\", which holds text",
        ),
        (
            "[outcome.v.number]\noutput = 'score'\nindex = 1",
            "outcome.v.number.index: found 1, expected less than 1",
        ),
        (
            "[outcome.v.number]\noutput = 'score'\nscale = inf",
            "outcome.v.number.scale: found inf",
        ),
        (
            "[outcome.v.number]\noutput = 'score'\nclip = [1, 0]",
            "outcome.v.number.clip: found [1, 0]",
        ),
        (
            "[outcome.v.number]\noutput = 'score'\nround = 16",
            "outcome.v.number.round: found 16",
        ),
        (
            "[outcome.v.vector]\noutput = 'name'",
            "outcome.v.vector.output: found \"name\", which holds text",
        ),
        (
            "[outcome.v.top_k]\noutput = 'probabilities'\nk = 0\nlabels = ['a', 'b', 'c']",
            "outcome.v.top_k.k: found 0",
        ),
        (
            "[outcome.v.top_k]\noutput = 'probabilities'\nk = 3\nskip = 1\nlabels = ['a', 'b', 'c']",
            "outcome.v.top_k.k: found k = 3 and skip = 1, expected at most 3 together",
        ),
        (
            "[outcome.v.top_k]\noutput = 'probabilities'\nk = 1\nlabels = ['a']",
            "outcome.v.top_k.labels: found 1 labels, expected 3",
        ),
        (
            "[[reject]]\noutput = 'probabilities'\nabove = 1\ncode = 'oddd'\n[outcome.v.vector]\noutput = 'score'\n[rejection.odd]\ntitle = 't'",
            "reject[0].code: found \"oddd\", expected a code that is declared; these are: \"odd\"; did you mean \"odd\"?",
        ),
        (
            "[[reject]]\noutput = 'probabilities'\nindex = 3\nabove = 1\ncode = 'odd'\n[outcome.v.vector]\noutput = 'score'\n[rejection.odd]\ntitle = 't'",
            "reject[0].index: found 3",
        ),
        (
            "[[reject]]\noutput = 'probabilities'\ncode = 'odd'\n[outcome.v.vector]\noutput = 'score'\n[rejection.odd]\ntitle = 't'",
            "reject[0]: found neither above nor below",
        ),
    ] {
        let found = fault(manifest);
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn a_typo_in_a_key_keeps_its_line() {
    for (text, part) in [
        ("[class]\noutput = 'p'\nlabel = ['a']", "label"),
        (
            "[class]\noutput = 'p'\nthresholds = [{ from = { pointr = '/a', default = 1 }, label = 'a' }]",
            "pointr",
        ),
        (
            "[class]\noutput = 'p'\nthresholds = [{ from = 'x', label = 'a' }]",
            "a number, or { pointer",
        ),
        (
            "[class]\noutput = 'p'\nlabels = [true]",
            "text or an integer",
        ),
    ] {
        let error = toml::from_str::<OutcomeSpec>(text).unwrap_err();
        let line = text[..error.span().unwrap().start].lines().count();
        assert!(line >= 2, "{line}: {error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = toml::from_str::<OutcomeSpec>("[klass]\noutput = 'p'").unwrap_err();
    assert!(error.to_string().contains("klass"), "{error}");
}
