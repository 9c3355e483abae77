//! What is written is what is read.

use serde_json::json;

use super::*;

fn object(fields: usize) -> Value {
    let fields = (0..fields).map(|i| (format!("k{i}"), json!([i, { "in": i }])));
    Value::Object(fields.collect())
}

#[test]
fn a_value_is_what_it_was_and_every_part_is_found() {
    for fields in [0, 1, FEW - 1, FEW, FEW + 1, 10 * FEW] {
        let value = json!([null, object(fields), "", -0.5, true, [[], {}]]);
        let document = Document::from(&value);
        assert_eq!(document.root().to_value(), value);
        let Kind::Array(items) = document.root().kind() else {
            panic!("an array");
        };
        assert_eq!(items.get(2).unwrap().as_str(), Some(""));
        assert_eq!(items.get(6), None);
        let Kind::Object(found) = items.get(1).unwrap().kind() else {
            panic!("an object");
        };
        assert_eq!(found.len(), fields);
        for i in 0..fields {
            let node = found.get(&format!("k{i}")).unwrap();
            assert_eq!(node.to_value(), json!([i, { "in": i }]));
        }
        assert_eq!(found.get("k"), None);
    }
    assert_eq!(Document::default().root().to_value(), Value::Null);
}

#[test]
fn order_is_kept_and_says_nothing_of_what_is_equal() {
    let of = |text: &str| Document::from(serde_json::from_str::<Value>(text).unwrap());
    let (one, other) = (of(r#"{"b":1,"a":[2]}"#), of(r#"{"a":[2],"b":1}"#));
    assert_eq!(one.to_string(), r#"{"b":1,"a":[2]}"#);
    assert_eq!(one, other);
    assert_ne!(one, of(r#"{"a":[2],"b":2}"#));
    assert_ne!(one, of(r#"{"a":[2]}"#));
    assert_ne!(of("[1,2]"), of("[2,1]"));
}
