use serde_json::{Value, json};

use super::{columns, errors, floats, one, represent};
use crate::{
    message::{
        object::Object,
        rejection::{Code, Stage},
    },
    tensor::Dtype,
};

/// The element that one column makes of `value` under `/v`.
fn element(column: &str, value: impl Into<Value>) -> Result<f32, String> {
    let plan = columns(column, Dtype::Float32, 1);
    let rows = represent(&plan, json!({ "v": value.into() })).map_err(|r| errors(&r).join("; "))?;
    Ok(floats(&rows[0])[0])
}

fn int64(value: impl Into<Value>) -> Result<i64, String> {
    let plan = columns("{ pointer = '/v' }", Dtype::Int64, 1);
    let rows = represent(&plan, json!({ "v": value.into() })).map_err(|r| errors(&r).join("; "))?;
    Ok(i64::from_ne_bytes(
        rows[0].bytes.as_slice().try_into().unwrap(),
    ))
}

#[test]
fn numbers_and_booleans_stand_in_the_order_of_the_columns() {
    let plan = columns(
        "{ pointer = '/b/0' }, { pointer = '/a' }, { pointer = '/c' }",
        Dtype::Float32,
        3,
    );
    let row = one(&plan, json!({"a": -2, "b": [1.5], "c": true}));
    assert_eq!(floats(&row), [1.5, -2.0, 1.0]);
    assert!(!plan.is_heavy() && !plan.accepts_pictures());
}

#[test]
fn columns_of_one_array_beside_columns_of_others_find_their_own() {
    let plan = columns(
        "{ pointer = '/a/0' }, { pointer = '/a/1' }, { pointer = '/b/1' }, { pointer = '/b/x', on_missing = 'default', default = 7 }, { pointer = '/a/2', transform = 'log1p' }, { pointer = '/c' }",
        Dtype::Float32,
        6,
    );
    let row = one(&plan, json!({"a": [1, 2, 0], "b": [3, 4], "c": 5}));
    assert_eq!(floats(&row), [1.0, 2.0, 4.0, 7.0, 0.0, 5.0]);
    let rejection = represent(&plan, json!({"a": null, "b": {"1": 4}, "c": 5})).unwrap_err();
    let range = "expected a number between -3.4e38 and 3.4e38, found nothing";
    assert_eq!(
        errors(&rejection),
        [
            format!("/a/0: {range}"),
            format!("/a/1: {range}"),
            "/a/2: expected a number above -1, found nothing".to_owned(),
        ]
    );
}

#[test]
fn all_bad_values_are_told_at_once_and_none_is_quoted() {
    let plan = columns(
        "{ pointer = '/a' }, { pointer = '/b' }, { pointer = '/c' }, { pointer = '/d' }, { pointer = '/e' }",
        Dtype::Float32,
        5,
    );
    let request = json!({"a": "12", "b": null, "c": 1e300, "d": [1], "e": 1});
    let rejection = represent(&plan, request).unwrap_err();
    let range = "expected a number between -3.4e38 and 3.4e38";
    assert_eq!(
        errors(&rejection),
        [
            format!("/a: {range}, found text"),
            format!("/b: {range}, found nothing"),
            format!("/c: {range}, found another number"),
            format!("/d: {range}, found an array"),
        ]
    );
    assert_eq!(
        (&rejection.code, rejection.stage),
        (&Code::Unrepresentable, Stage::Represent)
    );
    assert!(
        rejection
            .detail
            .starts_with("4 values are at fault; the first: /a: "),
        "{rejection}"
    );
}

#[test]
fn no_more_than_twenty_faults_are_told() {
    let many: Vec<_> = (0..40).map(|i| format!("{{ pointer = '/{i}' }}")).collect();
    let plan = columns(&many.join(","), Dtype::Float32, 40);
    let rejection = represent(&plan, json!({})).unwrap_err();
    assert_eq!(rejection.errors.len(), 20);
}

#[test]
fn integers_are_exact_or_refused() {
    assert_eq!(int64(json!(i64::MAX)), Ok(i64::MAX));
    assert_eq!(int64(json!(i64::MIN)), Ok(i64::MIN));
    assert_eq!(int64(json!(3.0)), Ok(3));
    for bad in [
        json!(1.5),
        json!(u64::MAX),
        json!(9_223_372_036_854_775_808_u64),
        json!(1e19),
    ] {
        let expected =
            "/v: expected a whole number between -2^63 and 2^63 - 1, found another number";
        assert_eq!(int64(bad), Err(expected.into()));
    }
}

#[test]
fn every_type_keeps_its_range() {
    for (dtype, good, bad) in [
        (Dtype::Uint8, json!(255), json!(256)),
        (Dtype::Uint8, json!(0), json!(-1)),
        (
            Dtype::Int32,
            json!(i32::MIN),
            json!(i64::from(i32::MIN) - 1),
        ),
        (Dtype::Bool, json!(true), json!(2)),
        (Dtype::Int8, json!(-128), json!(128)),
        (Dtype::Float16, json!(65_504), json!(65_520)),
        (Dtype::Float32, json!(3.4e38), json!(3.5e38)),
        (Dtype::Float64, json!(1.7e308), json!("1")),
    ] {
        let plan = columns("{ pointer = '/v' }", dtype, 1);
        assert!(represent(&plan, json!({ "v": good })).is_ok(), "{dtype}");
        assert!(represent(&plan, json!({ "v": bad })).is_err(), "{dtype}");
    }
}

#[test]
fn a_missing_value_gets_the_default_before_the_transform() {
    let plain = "{ pointer = '/v', on_missing = 'default', default = -1 }";
    assert_eq!(element(plain, Value::Null), Ok(-1.0));
    assert_eq!(element(plain, json!(2)), Ok(2.0));
    assert!(element(plain, json!("x")).is_err());
    let log =
        "{ pointer = '/v', on_missing = 'default', default = 1.718281828, transform = 'log1p' }";
    assert!((element(log, Value::Null).unwrap() - 1.0).abs() < 1e-6);
}

#[test]
fn categories_become_their_place() {
    let index = "{ pointer = '/v', categories = ['EUR', 'USD', 7], unknown = 'zero' }";
    assert_eq!(element(index, json!("USD")), Ok(1.0));
    assert_eq!(element(index, json!(7)), Ok(2.0));
    assert_eq!(element(index, json!(7.0)), Ok(2.0));
    assert_eq!(element(index, json!("7")), Ok(-1.0));
    let closed = "{ pointer = '/v', categories = ['EUR', 'USD'] }";
    assert_eq!(
        element(closed, json!("eur")).unwrap_err(),
        "/v: expected one of \"EUR\", \"USD\", found other text"
    );
}

#[test]
fn categories_become_one_hot() {
    let plan = columns(
        "{ pointer = '/v', categories = ['a', 'b', 'c'], encode = 'one_hot', unknown = 'zero', on_missing = 'default', default = 'c' }, { pointer = '/w' }",
        Dtype::Float32,
        4,
    );
    let row = |request| floats(&one(&plan, request));
    assert_eq!(row(json!({"v": "b", "w": 9})), [0.0, 1.0, 0.0, 9.0]);
    assert_eq!(row(json!({"v": "?", "w": 9})), [0.0, 0.0, 0.0, 9.0]);
    assert_eq!(row(json!({"w": 9})), [0.0, 0.0, 1.0, 9.0]);
}

#[test]
fn times_are_read_in_utc() {
    let hour = "{ pointer = '/v', transform = 'hour' }";
    assert_eq!(element(hour, json!("2024-05-01T12:30:00Z")), Ok(12.0));
    assert_eq!(
        element(hour, json!("2024-05-01T00:30:00.123+02:00")),
        Ok(22.0)
    );
    assert_eq!(element(hour, json!("2016-12-31T23:59:60Z")), Ok(23.0));
    let weekday = "{ pointer = '/v', transform = 'weekday' }";
    assert_eq!(element(weekday, json!("2024-05-01T12:30:00Z")), Ok(2.0));
    assert_eq!(
        element(weekday, json!("2024-05-06T00:30:00+02:00")),
        Ok(6.0)
    );
    for bad in [
        json!("2024-05-01"),
        json!("noon"),
        json!(12),
        json!("9999-12-31T23:59:59-23:59"),
    ] {
        let fault = element(hour, bad).unwrap_err();
        assert!(fault.contains("RFC 3339"), "{fault}");
    }
    let missing = "{ pointer = '/v', transform = 'hour', on_missing = 'default', default = -1 }";
    assert_eq!(element(missing, Value::Null), Ok(-1.0));
}

#[test]
fn log1p_takes_what_it_is_defined_for() {
    let log = "{ pointer = '/v', transform = 'log1p' }";
    assert_eq!(element(log, json!(0)), Ok(0.0));
    assert!((element(log, json!(1e-10)).unwrap() - 1e-10).abs() < 1e-17);
    for bad in [json!(-1), json!(-5)] {
        assert_eq!(
            element(log, bad).unwrap_err(),
            "/v: expected a number above -1, found another number"
        );
    }
}

#[test]
fn same_as_compares_two_places() {
    let plan = columns(
        "{ pointer = '/a', transform = { same_as = { other = '/b' } } }",
        Dtype::Float32,
        1,
    );
    for (a, b, same) in [
        (json!("x"), json!("x"), 1.0),
        (json!("x"), json!("y"), 0.0),
        (json!(1), json!(1.0), 1.0),
        (
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_992_i64),
            0.0,
        ),
        (json!(1), json!("1"), 0.0),
    ] {
        assert_eq!(floats(&one(&plan, json!({"a": a, "b": b}))), [same]);
    }
    let rejection = represent(&plan, json!({"a": 1})).unwrap_err();
    assert_eq!(
        errors(&rejection),
        ["/b: expected a value to compare with, found nothing"]
    );
}

#[test]
fn same_network_knows_both_kinds_of_address() {
    let same = |a: &str, b: &str, prefix: u8| {
        let column = format!(
            "{{ pointer = '/a', transform = {{ same_network = {{ other = '/b', prefix = {prefix} }} }} }}"
        );
        let plan = columns(&column, Dtype::Float32, 1);
        represent(&plan, json!({"a": a, "b": b}))
            .map(|rows| floats(&rows[0])[0])
            .map_err(|r| errors(&r).join("; "))
    };
    assert_eq!(same("192.0.2.1", "192.0.255.9", 16), Ok(1.0));
    assert_eq!(same("192.0.2.1", "192.1.2.1", 16), Ok(0.0));
    assert_eq!(same("1.2.3.4", "200.2.3.4", 0), Ok(1.0));
    assert_eq!(same("1.2.3.4", "1.2.3.4", 32), Ok(1.0));
    assert_eq!(same("2001:db8::1", "2001:db8:0:1::2", 48), Ok(1.0));
    assert_eq!(same("2001:db8::1", "2001:db8:0:1::2", 64), Ok(0.0));
    assert_eq!(same("::ffff:192.0.2.1", "192.0.2.9", 24), Ok(1.0));
    assert_eq!(same("::1", "127.0.0.1", 0), Ok(0.0));
    let fault = same("1.2.3.4", "localhost", 8).unwrap_err();
    assert_eq!(
        fault,
        "/b: expected an IPv4 or IPv6 address as text, found other text"
    );
}

#[test]
fn text_goes_into_text_inputs() {
    let plan = columns(
        "{ pointer = '/a' }, { pointer = '/b', on_missing = 'default', default = 'none' }",
        Dtype::String,
        2,
    );
    assert_eq!(one(&plan, json!({"a": "x"})).strings, ["x", "none"]);
    let rejection = represent(&plan, json!({"a": 1, "b": true})).unwrap_err();
    assert_eq!(
        errors(&rejection),
        [
            "/a: expected text, found a number",
            "/b: expected text, found true or false"
        ]
    );
    let rejection = represent(&plan, json!({"a": "secret\0"})).unwrap_err();
    let told = ["/a: expected text without NUL characters, found text with one"];
    assert_eq!(
        (errors(&rejection), rejection.code),
        (told.map(str::to_owned).to_vec(), Code::Unrepresentable)
    );
}

#[test]
fn a_raw_picture_is_refused_where_columns_are_described() {
    let plan = columns("{ pointer = '/v' }", Dtype::Float32, 1);
    let rejection = plan
        .represent(&Object::Picture(bytes::Bytes::from_static(b"x")))
        .unwrap_err();
    assert_eq!(rejection.code, Code::Unrepresentable);
}
