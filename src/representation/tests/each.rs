use serde_json::json;

use super::{compile, errors, floats, represent};
use crate::{message::rejection::Code, representation::Plan, tensor::Dtype};

fn plan() -> Plan {
    let manifest = "
        each = '/candidates'
        [input.x]
        columns = [{ pointer = '/age' }, { pointer = '/amount', from = 'request' }]
        ";
    compile(manifest, &[("x", Dtype::Float32, &[2])]).unwrap()
}

#[test]
fn every_element_becomes_a_row() {
    let request = json!({"amount": 5, "candidates": [{"age": 1}, {"age": 2}]});
    let rows = represent(&plan(), request).unwrap();
    let rows: Vec<_> = rows.iter().map(floats).collect();
    assert_eq!(rows, [[1.0, 5.0], [2.0, 5.0]]);
}

#[test]
fn faults_are_told_from_the_root_and_once() {
    let request = json!({"candidates": [{"age": 1}, {"age": "x"}, {}]});
    let range = "expected a number between -3.4e38 and 3.4e38";
    assert_eq!(
        errors(&represent(&plan(), request).unwrap_err()),
        [
            format!("/amount: {range}, found nothing"),
            format!("/candidates/1/age: {range}, found text"),
            format!("/candidates/2/age: {range}, found nothing"),
        ]
    );
}

#[test]
fn what_is_no_array_or_empty_or_too_long_is_refused() {
    for (request, code, error) in [
        (
            json!({}),
            Code::Unrepresentable,
            "/candidates: expected an array, found nothing",
        ),
        (
            json!({"candidates": {}}),
            Code::Unrepresentable,
            "/candidates: expected an array, found an object",
        ),
        (
            json!({"candidates": []}),
            Code::Unrepresentable,
            "/candidates: expected at least one element, found an empty array",
        ),
        (
            json!({"candidates": [1, 2, 3, 4]}),
            Code::RequestTooLarge,
            "/candidates: expected at most 3 elements",
        ),
    ] {
        let rejection = represent(&plan(), request).unwrap_err();
        assert_eq!(
            (&rejection.code, errors(&rejection)),
            (&code, vec![error.into()])
        );
    }
    let rejection = represent(&plan(), json!({"candidates": [1, 2, 3, 4]})).unwrap_err();
    assert!(
        rejection
            .detail
            .starts_with("4 elements were sent and 3 are the most"),
        "{rejection}"
    );
}

#[test]
fn an_array_of_plain_values_is_pointed_at_by_the_empty_pointer() {
    let manifest = "each = ''\n[input.x]\ncolumns = [{ pointer = '' }]";
    let plan = compile(manifest, &[("x", Dtype::Float32, &[1])]).unwrap();
    assert_eq!(represent(&plan, json!([1, 2])).unwrap().len(), 2);
    let rejection = represent(&plan, json!([1, "2"])).unwrap_err();
    assert!(errors(&rejection)[0].starts_with("/1: "), "{rejection}");
}
