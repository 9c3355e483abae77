//! What a requester is told.

use serde_json::json;

use super::*;
use crate::{message::document::Document, package::schema::RequestSchema};

fn rejected(request: Value) -> Rejection {
    let package = Folder::valid().package();
    package.validate(&Object::from(request)).unwrap_err()
}

#[test]
fn what_a_request_lacks_is_told_by_pointer_and_expectation() {
    for (request, pointer, detail) in [
        (json!(7), "", "expected an object, found a number"),
        (
            json!({"currency": "EUR"}),
            "",
            "the property \"amount\" is missing, expected a number; add \"amount\"",
        ),
        (
            json!({"amount": "12", "currency": "EUR"}),
            "/amount",
            "expected a number, found text; write it without quotes",
        ),
        (
            json!({"amount": null, "currency": "EUR"}),
            "/amount",
            "expected a number, found null",
        ),
        (
            json!({"amount": -1, "currency": "EUR"}),
            "/amount",
            "expected a number of at least 0, found a smaller one",
        ),
        (
            json!({"amount": 1, "currency": "euro"}),
            "/currency",
            "expected text that matches ^[A-Z]{3}$, found other text",
        ),
        (
            json!({"amount": 1, "currency": "EUR", "age": -1}),
            "/age",
            "expected a number of at least 0, found a smaller one",
        ),
        (
            json!({"amount": 1, "currency": "EUR", "age": "old"}),
            "/age",
            "expected an integer, or null",
        ),
        (
            json!({"amount": 1, "currency": "EUR", "note": "secret"}),
            "/note",
            "expected at most 5 characters, found more",
        ),
        (
            json!({"amount": 1, "currency": "EUR", "currancy": "EUR"}),
            "",
            "a property that is not known, expected one of \"amount\", \"age\", \"currency\", \"note\"; did you mean \"currency\"?",
        ),
    ] {
        let rejection = rejected(request);
        assert_eq!(rejection.code, Code::InvalidRequest);
        assert_eq!(rejection.stage, Stage::Validate);
        let hit = rejection
            .errors
            .iter()
            .any(|e| e.pointer == pointer && e.detail.starts_with(detail));
        assert!(hit, "{pointer}: {detail}\namong {:#?}", rejection.errors);
    }
}

#[test]
fn no_word_of_a_request_is_told() {
    let request = json!({
        "amount": "sesame", "age": {"sesame": "sesame"}, "currency": "sesame", "note": "sesame", "sesame": "sesame",
    });
    let told = format!("{:?}", rejected(request));
    assert!(!told.contains("sesame"), "{told}");
}

#[test]
fn at_most_20_faults_are_told() {
    let schema = json!({"items": {"type": "integer"}}).to_string();
    let schema = Schema::compile("s.json", schema.as_bytes()).unwrap();
    let errors = schema.check(&json!(vec!["x"; 100])).unwrap_err();
    assert_eq!(errors.len(), 20);
    assert_eq!(errors[19].pointer, "/19");
}

#[test]
fn of_a_large_request_one_fault_is_told_as_all_would_not_fit_into_memory() {
    let required: Vec<String> = (0..30).map(|key| format!("k{key}")).collect();
    let elements = json!({"items": {"required": required}});
    let body = json!(vec![json!({}); 350_000]);
    let check = |schema: &Value| {
        let schema = RequestSchema::compile("s.json", schema.to_string().as_bytes()).unwrap();
        let errors = schema.check(&Document::from(&body)).unwrap_err();
        let [error] = errors.as_slice() else {
            panic!("{} faults", errors.len());
        };
        (error.pointer.clone(), error.detail.clone())
    };
    let (pointer, detail) = check(&elements);
    assert_eq!(pointer, "/0");
    assert!(
        detail.contains("the property \"k0\" is missing"),
        "{detail}"
    );
    let (pointer, detail) = check(&json!({"anyOf": [elements, {"type": "string"}]}));
    assert_eq!(pointer, "");
    assert!(detail.contains("too many to tell where"), "{detail}");
}

#[test]
fn formats_are_asserted() {
    let schema = json!({"format": "date-time"}).to_string();
    let schema = Schema::compile("s.json", schema.as_bytes()).unwrap();
    assert!(schema.check(&json!("2024-02-29T10:00:00+01:00")).is_ok());
    let errors = schema.check(&json!("2023-02-29T10:00:00Z")).unwrap_err();
    assert!(errors[0].detail.contains("date-time"), "{errors:?}");
}

#[test]
fn a_recursive_schema_is_no_circle() {
    let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}}).to_string();
    let schema = Schema::compile("s.json", schema.as_bytes()).unwrap();
    assert!(schema.check(&json!({"next": {"next": {}}})).is_ok());
    let errors = schema.check(&json!({"next": {"next": 1}})).unwrap_err();
    assert_eq!(errors[0].pointer, "/next/next");
}

#[test]
fn what_would_take_for_ever_to_find_out_is_told_as_a_whole() {
    let deep = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let ends = json!({"type": "string"});
    let down = json!({"type": "array", "items": {"$ref": "#"}});
    for schema in [
        json!({"anyOf": [down, down, ends]}),
        json!({"if": {"type": "array"}, "then": {"allOf": [down, down]}, "else": ends}),
        json!({"anyOf": [
            {"items": {"$dynamicRef": "#here"}}, {"items": {"$ref": "#here"}, "minItems": 1}, false,
        ], "not": {"type": "integer"}, "$dynamicAnchor": "here"}),
    ] {
        let schema = RequestSchema::compile("s.json", schema.to_string().as_bytes()).unwrap();
        let told = |levels| schema.check(&Document::from(deep(levels))).unwrap_err();
        let (near, far) = (told(4), told(60));
        assert!(!near.is_empty() && near.iter().all(|error| !error.detail.contains("too many")));
        assert_eq!(far.len(), 1);
        assert!(
            far[0].detail.contains("61 values nested 60 deep, too many"),
            "{far:?}"
        );
    }
    for (schema, place) in [
        (
            json!({"items": {"$ref": "#"}, "type": "array"}),
            "/0".repeat(100),
        ),
        (
            json!({
                "allOf": [{"$ref": "#/$defs/any"}, {"$ref": "#/$defs/any"}, {"$ref": "#any"}],
                "items": {"items": {"items": {"items": {"type": "array"}}}},
                "$defs": {"any": {"$anchor": "any"}},
            }),
            "/0/0/0/0".to_owned(),
        ),
    ] {
        let schema = Schema::compile("s.json", schema.to_string().as_bytes()).unwrap();
        let levels = place.len() / 2;
        let told = schema.check(&deep(levels)).unwrap_err();
        assert_eq!(
            (told.len(), &told[0].pointer),
            (1, &place),
            "only one way leads there"
        );
    }
}

#[test]
fn a_long_text_is_not_copied_for_each_alternative() {
    let required: Vec<String> = (0..20).map(|key| format!("k{key}")).collect();
    let alternatives = vec![json!({"required": required}); 10];
    let schema = json!({"oneOf": alternatives}).to_string();
    let schema = Schema::compile("s.json", schema.as_bytes()).unwrap();
    let told = schema
        .check(&json!({"a": "x".repeat(1 << 20)}))
        .unwrap_err();
    assert!(
        told[0].detail.contains("too many to tell where"),
        "{told:?}"
    );
    let told = schema
        .check(&json!({"a": "x".repeat(1 << 10)}))
        .unwrap_err();
    assert!(
        !told[0].detail.contains("too many to tell where"),
        "{told:?}"
    );
}

#[test]
fn that_values_differ_is_found_out_soon_whatever_they_are() {
    // Each is another tree of nothing but arrays: the bits of its number.
    let bit = |number: u32, bit: u32| {
        (0..(number >> bit) & 1)
            .map(|_| json!([]))
            .collect::<Value>()
    };
    let trees = (0..30_000).map(|number| (0..15).map(|at| bit(number, at)).collect());
    // All of the same two floats.
    let pairs =
        (0..30_000_u64).map(|number| json!([u64::MAX - number % 900, u64::MAX - number / 900]));
    let schema = json!({"uniqueItems": true}).to_string();
    let schema = RequestSchema::compile("s.json", schema.as_bytes()).unwrap();
    let start = std::time::Instant::now();
    for mut body in [trees.collect::<Vec<Value>>(), pairs.collect()] {
        let unique = |body: &[Value]| schema.check(&Document::from(Value::from(body)));
        assert!(unique(&body).is_ok());
        body.push(body[7].clone());
        assert_eq!(unique(&body).unwrap_err()[0].pointer, "");
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn a_picture_is_not_held_against_the_schema() {
    let package = Folder::valid().package();
    let picture = Object::Picture(bytes::Bytes::from_static(b"not looked at"));
    assert!(package.validate(&picture).is_ok());
}
