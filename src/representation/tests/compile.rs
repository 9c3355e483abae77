use super::compile;
use crate::{representation::InputSpec, tensor::Dtype};

/// The only fault of a manifest whose model has these inputs.
fn fault(manifest: &str, inputs: &[(&str, Dtype, &[usize])]) -> String {
    let faults = compile(manifest, inputs).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults[0].to_string()
}

fn column_fault(column: &str, dtype: Dtype) -> String {
    let manifest = format!("[input.x]\ncolumns = [{column}]");
    fault(&manifest, &[("x", dtype, &[1])])
}

fn image_fault(lines: &str, dtype: Dtype, shape: &[usize]) -> String {
    let manifest = format!("[input.x.image]\nwidth = 8\nheight = 4\ncolor = 'rgb'\n{lines}");
    fault(&manifest, &[("x", dtype, shape)])
}

#[test]
fn every_model_input_is_described_and_every_description_has_an_input() {
    let manifest = "[input.featurs]\ncolumns = [{ pointer = '/a' }]";
    let faults = compile(manifest, &[("features", Dtype::Float32, &[1])]).unwrap_err();
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "input.featurs: found an input \"featurs\" that the model does not have, expected the model's inputs: \"features\"; did you mean \"features\"?",
            "input.features: found nothing, expected how the model's input \"features\" (float32 [1]) is made from the request; add [input.features] with columns or a sequence, or [input.features.image]",
        ]
    );
    let both = "[input.x]\ncolumns = []\nimage = { width = 1, height = 1, color = 'grey' }";
    let fault = fault(both, &[("x", Dtype::Float32, &[1])]);
    assert!(fault.starts_with("input.x: found several"), "{fault}");
}

#[test]
fn names_that_toml_must_quote_are_quoted() {
    let found = fault("input = {}", &[("dense:0", Dtype::Float32, &[1])]);
    assert!(found.starts_with("input.\"dense:0\": "), "{found}");
}

#[test]
fn the_number_of_columns_is_the_row_s() {
    let manifest = "[input.x]\ncolumns = [{ pointer = '/a', categories = ['p', 'q'], encode = 'one_hot' }, { pointer = '/b' }]";
    let short = fault(manifest, &[("x", Dtype::Float32, &[5])]);
    assert_eq!(
        short,
        "input.x.columns: found 3 values a row, expected 5, for the model takes rows of shape [5]; add columns for 2 more; a one_hot column counts once for each of its categories"
    );
    let long = fault(manifest, &[("x", Dtype::Float32, &[1, 2])]);
    assert!(long.contains("take 1 away"), "{long}");
    assert!(compile(manifest, &[("x", Dtype::Float32, &[3, 1])]).is_ok());
}

#[test]
fn columns_that_cannot_be_are_explained() {
    for (column, dtype, expected) in [
        (
            "{ pointer = 'a.b' }",
            Dtype::Float32,
            "input.x.columns[0].pointer: found \"a.b\", expected a JSON pointer (RFC 6901); write \"/\" before every key, as in \"/a/b\"",
        ),
        (
            "{ pointer = '/a', transform = { same_as = { other = 'b' } } }",
            Dtype::Float32,
            "input.x.columns[0].transform.same_as.other: found \"b\"",
        ),
        (
            "{ pointer = '/a', transform = { same_network = { other = '/b', prefix = 129 } } }",
            Dtype::Float32,
            "input.x.columns[0].transform.same_network.prefix: found 129",
        ),
        (
            "{ pointer = '/a', transform = 'log1p' }",
            Dtype::Int64,
            "input.x.columns[0].transform: found \"log1p\" on a int64 input",
        ),
        (
            "{ pointer = '/a', transform = 'hour' }",
            Dtype::Bool,
            "input.x.columns[0].transform: found \"hour\" on a bool input",
        ),
        (
            "{ pointer = '/a', categories = [] }",
            Dtype::Float32,
            "input.x.columns[0].categories: found an empty list",
        ),
        (
            "{ pointer = '/a', categories = ['p', 'q', 'p'] }",
            Dtype::Float32,
            "input.x.columns[0].categories[2]: found \"p\" again, as in categories[0]",
        ),
        (
            "{ pointer = '/a', categories = ['p', 'q'], unknown = 'zero' }",
            Dtype::Uint8,
            "input.x.columns[0].unknown: found \"zero\" for an index",
        ),
        (
            "{ pointer = '/a', categories = ['p', 'q', 'r'] }",
            Dtype::Bool,
            "input.x.columns[0].categories: found 3 categories",
        ),
        (
            "{ pointer = '/a', categories = ['p'], transform = 'log1p' }",
            Dtype::Float32,
            "input.x.columns[0].transform: found it beside categories",
        ),
        (
            "{ pointer = '/a', encode = 'one_hot' }",
            Dtype::Float32,
            "input.x.columns[0].encode: found it without categories",
        ),
        (
            "{ pointer = '/a', default = 1 }",
            Dtype::Float32,
            "input.x.columns[0].default: found 1, expected no default",
        ),
        (
            "{ pointer = '/a', on_missing = 'default' }",
            Dtype::Float32,
            "input.x.columns[0].default: found nothing",
        ),
        (
            "{ pointer = '/a', on_missing = 'default', default = 1.5 }",
            Dtype::Int32,
            "input.x.columns[0].default: found 1.5, expected a whole number between",
        ),
        (
            "{ pointer = '/a', on_missing = 'default', default = nan }",
            Dtype::Float32,
            "input.x.columns[0].default: found NaN",
        ),
        (
            "{ pointer = '/a', on_missing = 'default', default = 'r', categories = ['p'] }",
            Dtype::Float32,
            "input.x.columns[0].default: found \"r\", expected one of \"p\"",
        ),
        (
            "{ pointer = '/a', transform = 'log1p' }",
            Dtype::String,
            "input.x.columns[0].transform: found it on a text input",
        ),
        (
            "{ pointer = '/a', on_missing = 'default', default = 1 }",
            Dtype::String,
            "input.x.columns[0].default: found 1, expected text without NUL characters",
        ),
    ] {
        let found = column_fault(column, dtype);
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn images_that_cannot_be_are_explained() {
    let nchw: &[usize] = &[3, 4, 8];
    for (lines, dtype, shape, expected) in [
        (
            "layout = 'nhwc'",
            Dtype::Float32,
            nchw,
            "input.x.image.layout: found \"nhwc\" of 8×4 pixels with 3 channel(s): [4, 8, 3], expected [3, 4, 8]",
        ),
        (
            "mean = [0.5]",
            Dtype::Float32,
            nchw,
            "input.x.image.mean: found 1 value(s), expected 3",
        ),
        (
            "std = [1.0, 0.0, 1.0]",
            Dtype::Float32,
            nchw,
            "input.x.image.std: found 0",
        ),
        (
            "scale = 0.1",
            Dtype::Uint8,
            nchw,
            "input.x.image.scale: found it on a uint8 input",
        ),
        (
            "scale = inf",
            Dtype::Float32,
            nchw,
            "input.x.image.scale: found nan or inf",
        ),
        (
            "pointer = 'a'",
            Dtype::Float32,
            nchw,
            "input.x.image.pointer: found \"a\"",
        ),
        (
            "max_pixels = 0",
            Dtype::Float32,
            nchw,
            "input.x.image.max_pixels: found 0",
        ),
        (
            "",
            Dtype::String,
            nchw,
            "input.x.image.color: found a picture for a string input",
        ),
        (
            "scale = 3e38\nstd = [1.0, 1.0, 1e-45]",
            Dtype::Float32,
            nchw,
            "input.x.image.std: found scale, mean and std that make inf or nan of a sample",
        ),
        (
            "too_small = { width = 0, height = 8, code = 'small' }\n[rejection.small]\ntitle = 't'",
            Dtype::Float32,
            nchw,
            "input.x.image.too_small.width: found 0",
        ),
        (
            "too_small = { width = 8, height = 8, code = 'smal' }\n[rejection.small]\ntitle = 't'",
            Dtype::Float32,
            nchw,
            "input.x.image.too_small.code: found \"smal\", expected a code that is declared; these are: \"small\"; did you mean \"small\"?",
        ),
        (
            "blank = { spread = 8, code = 'b' }",
            Dtype::Float32,
            nchw,
            "input.x.image.blank.code: found \"b\", expected a code that is declared; these are: none; add [rejection.b] with a title",
        ),
    ] {
        let found = image_fault(lines, dtype, shape);
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    let two = "[input.x.image]\nwidth = 1\nheight = 1\ncolor = 'grey'\n[input.y]\ncolumns = [{ pointer = '/y' }]";
    let found = fault(
        two,
        &[
            ("x", Dtype::Float32, &[1, 1, 1]),
            ("y", Dtype::Float32, &[1]),
        ],
    );
    assert!(
        found.starts_with("input.x.image.pointer: found nothing"),
        "{found}"
    );
}

#[test]
fn a_dtype_must_be_the_model_s_and_each_a_pointer() {
    let manifest = "each = 'items'\n[input.x]\ndtype = 'int64'\ncolumns = [{ pointer = '/a' }]";
    let faults = compile(manifest, &[("x", Dtype::Float32, &[1])]).unwrap_err();
    assert_eq!(
        faults.iter().map(|f| f.key.as_str()).collect::<Vec<_>>(),
        ["each", "input.x.dtype"]
    );
}

#[test]
fn a_typo_in_a_key_keeps_its_line_and_names_the_known_ones() {
    for (text, part) in [
        (
            "columns = [\n  { pointer = '/a', defualt = 1 },\n]",
            "defualt",
        ),
        (
            "columns = [\n  { pointer = '/a', transform = 'log2' },\n]",
            "log2",
        ),
        (
            "columns = [\n  { pointer = '/a', transform = { same_as = { othre = '/b' } } },\n]",
            "othre",
        ),
        (
            "columns = [\n  { pointer = '/a', categories = [0.5] },\n]",
            "0.5",
        ),
    ] {
        let error = toml::from_str::<InputSpec>(text).unwrap_err();
        let line = text[..error.span().unwrap().start].lines().count();
        assert_eq!(line, 2, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}
