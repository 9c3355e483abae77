use serde_json::json;

use super::{Manifest, errors, floats, represent};
use crate::{
    representation::{Plan, longest},
    tensor::{Dtype, RowLayout},
};

const PAYMENTS: &str = "
    [input.x]
    sequence = { pointer = '/payments', longest = 4 }
    columns = [{ pointer = '/amount' }, { pointer = '/of', from = 'request' }]

    [input.mask]
    mask = true
    ";

fn compile(manifest: &str, inputs: &[(&str, Dtype, &[usize], bool)]) -> Result<Plan, Vec<String>> {
    let manifest: Manifest = toml::from_str(manifest).unwrap();
    let inputs = inputs.iter().map(|(name, dtype, shape, sequence)| {
        ((*name).to_owned(), *dtype, shape.to_vec(), *sequence)
    });
    let layout = RowLayout::with_sequences(inputs);
    let each = manifest.each.as_deref();
    let told = |fault: &crate::fault::SpecFault| fault.to_string();
    longest(&manifest.input).map_err(|fault| vec![told(&fault)])?;
    Plan::compile(&manifest.input, &layout, each, 3, &manifest.rejection)
        .map_err(|faults| faults.iter().map(told).collect())
}

fn plan(open: bool) -> Plan {
    let inputs: [(_, _, &[usize], _); 2] = [
        ("mask", Dtype::Int64, &[4], open),
        ("x", Dtype::Float32, &[4, 2], open),
    ];
    compile(PAYMENTS, &inputs).unwrap()
}

#[test]
fn each_element_becomes_a_step_and_where_the_model_fixes_the_axis_the_rest_is_zero_and_masked() {
    let request = json!({"of": 7, "payments": [{"amount": 1}, {"amount": 2}, {"amount": 3}]});
    for (open, length, masks, values) in [
        (true, 3, vec![1, 1, 1], vec![1.0, 7.0, 2.0, 7.0, 3.0, 7.0]),
        (
            false,
            0,
            vec![1, 1, 1, 0],
            vec![1.0, 7.0, 2.0, 7.0, 3.0, 7.0, 0.0, 0.0],
        ),
    ] {
        let rows = represent(&plan(open), request.clone()).unwrap();
        let [row] = rows.as_slice() else {
            panic!("{rows:?}")
        };
        let (mask, x) = row.bytes.split_at(masks.len() * 8);
        assert_eq!(bytemuck::pod_collect_to_vec::<_, i64>(mask), masks);
        assert_eq!(bytemuck::pod_collect_to_vec::<_, f32>(x), values);
        assert_eq!(row.length, length, "of those that a run may leave out");
    }
}

#[test]
fn without_columns_an_element_is_its_steps_number() {
    let manifest = "[input.ids]\nsequence = { pointer = '/tokens', longest = 5 }";
    let plan = compile(manifest, &[("ids", Dtype::Float32, &[5], true)]).unwrap();
    let rows = represent(&plan, json!({"tokens": [3, 1]})).unwrap();
    assert_eq!((floats(&rows[0]), rows[0].length), (vec![3.0, 1.0], 2));
}

#[test]
fn every_row_of_each_has_a_sequence_of_its_own() {
    let manifest = "
        each = '/clients'
        [input.x]
        sequence = { pointer = '/payments', longest = 3 }
        ";
    let plan = compile(manifest, &[("x", Dtype::Float32, &[3], true)]).unwrap();
    let request = json!({"clients": [{"payments": [1]}, {"payments": [2, 3]}]});
    let rows = represent(&plan, request).unwrap();
    assert_eq!(
        rows.iter().map(|row| row.length).collect::<Vec<_>>(),
        [1, 2]
    );
    let request = json!({"clients": [{"payments": [1]}, {"payments": [2, "x"]}, {}]});
    assert_eq!(
        errors(&represent(&plan, request).unwrap_err()),
        [
            "/clients/1/payments/1: expected a number between -3.4e38 and 3.4e38, found text",
            "/clients/2/payments: expected an array, found nothing",
        ]
    );
}

#[test]
fn what_is_no_array_or_empty_or_too_long_or_of_another_length_is_told() {
    let two = "
        [input.a]
        sequence = { pointer = '/a', longest = 3 }
        [input.b]
        sequence = { pointer = '/b', longest = 3 }
        ";
    let inputs: [(_, _, &[usize], _); 2] = [
        ("a", Dtype::Float32, &[3], true),
        ("b", Dtype::Int64, &[3], true),
    ];
    let plan = compile(two, &inputs).unwrap();
    for (request, told) in [
        (
            json!({"a": 1, "b": [1]}),
            "/a: expected an array, found a number",
        ),
        (
            json!({"a": [], "b": [1]}),
            "/a: expected at least one element, found an empty array",
        ),
        (
            json!({"a": [1, 2, 3, 4], "b": [1]}),
            "/a: expected at most 3 elements, found 4",
        ),
        (
            json!({"a": [1, 2], "b": [1]}),
            "/b: expected 2 elements, as many as the other sequences have, found 1",
        ),
    ] {
        let rejection = represent(&plan, request).unwrap_err();
        assert_eq!(errors(&rejection), [told]);
    }
}

#[test]
fn the_author_of_a_sequence_is_told_what_is_wrong_with_it() {
    type Case<'a> = (&'a str, &'a [(&'a str, Dtype, &'a [usize], bool)], &'a str);
    let cases: [Case<'_>; 9] = [
        (
            "[input.x]\nmask = true",
            &[("x", Dtype::Int64, &[4], true)],
            "input.x.mask: found no input with a sequence",
        ),
        (
            "[input.x]\nmask = true\nsequence = { pointer = '/a', longest = 1 }",
            &[("x", Dtype::Int64, &[1], false)],
            "input.x: found several, expected one of columns, sequence, mask and image",
        ),
        (
            "[input.x]\nsequence = { pointer = '/a', longest = 3 }\n[input.y]\nsequence = { pointer = '/a', longest = 4 }",
            &[
                ("x", Dtype::Int64, &[3], true),
                ("y", Dtype::Int64, &[3], true),
            ],
            "input.y.sequence.longest: found 4, expected 3, as input x has it",
        ),
        (
            "[input.x]\nsequence = { pointer = '/a', longest = 9 }",
            &[("x", Dtype::Int64, &[8], false)],
            "input.x.sequence.longest: found 9, expected 1 to 8",
        ),
        (
            "[input.x]\nsequence = { pointer = '/a', longest = 3 }",
            &[("x", Dtype::Int64, &[3, 2], true)],
            "input.x.columns: found 1 values a step, expected 2, for the model takes steps of shape [2]",
        ),
        (
            "[input.x]\nsequence = { pointer = '/a', longest = 3 }",
            &[("x", Dtype::String, &[3], true)],
            "input.x.sequence: found an input of strings",
        ),
        (
            "[input.x]\nsequence = { pointer = '/a', longest = 3 }",
            &[("x", Dtype::Int64, &[], false)],
            "input.x.sequence: found an input of one number",
        ),
        (
            "[input.x]\nsequence = { pointer = '/a', longest = 3 }\n[input.m]\nmask = true",
            &[
                ("x", Dtype::Int64, &[3], true),
                ("m", Dtype::Int64, &[3, 3], true),
            ],
            "input.m.mask: found an input of int64 [3, 3]",
        ),
        (
            "[input.x]\nsequence = { pointer = '/a', longest = 3 }\n[input.m]\nmask = true",
            &[
                ("x", Dtype::Int64, &[3], true),
                ("m", Dtype::Int64, &[2], false),
            ],
            "input.m.mask: found an input of 2 steps, expected one of 3",
        ),
    ];
    for (manifest, inputs, told) in cases {
        let faults = compile(manifest, inputs).unwrap_err();
        assert!(
            faults.len() == 1 && faults[0].starts_with(told),
            "{faults:?}"
        );
    }
}
