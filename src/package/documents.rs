//! Documents, as the validator of JSON Schema looks at them.

use std::{
    borrow::Cow,
    collections::HashSet,
    hash::{BuildHasher, Hash, Hasher, RandomState},
};

use jsonschema::{
    JsonType,
    json::{Array, Json, Node as AnyNode, NodeIdentity, Object, cmp},
};
use serde_json::{Number, Value};

use crate::message::document::{Document, Elements, Fields, Kind, Members, Node, Nodes};

/// Values of requests, as they were read.
#[derive(Debug)]
pub(super) struct Documents;

impl Json for Documents {
    type Node<'a> = Node<'a>;
    type PreparedKey = String;
    type StringBuffer = Document;

    // As many steps from key to key cost as much as a look-up.
    const KEYS_PER_LOOKUP: usize = 2;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(
        buffer: &mut Document,
        string: &str,
        f: impl FnOnce(Node<'_>) -> T,
    ) -> T {
        buffer.set_text(string);
        f(buffer.root())
    }
}

impl<'a> AnyNode<'a, Documents> for Node<'a> {
    type Object = Fields<'a>;
    type Array = Elements<'a>;
    type Number = &'a Number;

    fn as_object(&self) -> Option<Fields<'a>> {
        match self.kind() {
            Kind::Object(fields) => Some(fields),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Array(_) => None,
        }
    }

    fn as_array(&self) -> Option<Elements<'a>> {
        match self.kind() {
            Kind::Array(items) => Some(items),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Object(_) => None,
        }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        self.as_str().map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<&'a Number> {
        match self.kind() {
            Kind::Number(number) => Some(number),
            Kind::Null | Kind::Bool(_) | Kind::Text(_) | Kind::Array(_) | Kind::Object(_) => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        match self.kind() {
            Kind::Bool(value) => Some(value),
            Kind::Null | Kind::Number(_) | Kind::Text(_) | Kind::Array(_) | Kind::Object(_) => None,
        }
    }

    fn is_null(&self) -> bool {
        Node::is_null(*self)
    }

    fn json_type(&self) -> JsonType {
        match self.kind() {
            Kind::Null => JsonType::Null,
            Kind::Bool(_) => JsonType::Boolean,
            Kind::Number(_) => JsonType::Number,
            Kind::Text(_) => JsonType::String,
            Kind::Array(_) => JsonType::Array,
            Kind::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self.kind(), expected) {
            (Kind::Null, Value::Null) => true,
            (Kind::Bool(value), Value::Bool(expected)) => value == *expected,
            (Kind::Number(number), Value::Number(expected)) => {
                cmp::equal_numbers(&number, expected)
            }
            (Kind::Text(text), Value::String(expected)) => text == expected,
            (Kind::Array(items), Value::Array(expected)) => {
                let mut both = items.iter().zip(expected);
                items.len() == expected.len() && both.all(|(item, other)| item.equals_value(other))
            }
            (Kind::Object(fields), Value::Object(expected)) => {
                let same = |(key, other): (&String, &Value)| {
                    fields.get(key).is_some_and(|node| node.equals_value(other))
                };
                fields.len() == expected.len() && expected.iter().all(same)
            }
            (
                Kind::Null
                | Kind::Bool(_)
                | Kind::Number(_)
                | Kind::Text(_)
                | Kind::Array(_)
                | Kind::Object(_),
                _,
            ) => false,
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(Node::to_value(*self))
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(self.address()))
    }
}

impl<'a> Object<'a, Documents> for Fields<'a> {
    type Node = Node<'a>;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        Fields::len(*self)
    }

    fn get(&self, key: &String) -> Option<Node<'a>> {
        Fields::get(*self, key)
    }

    fn members(&self) -> Members<'a> {
        self.iter()
    }
}

impl<'a> Array<'a, Documents> for Elements<'a> {
    type Node = Node<'a>;
    type ElementsIter = Nodes<'a>;

    fn len(&self) -> usize {
        Elements::len(*self)
    }

    fn elements(&self) -> Nodes<'a> {
        self.iter()
    }

    // The validator's own takes arrays of nothing but arrays for alike before it compares them, so that it compares each
    // with each: of 1 MiB that is minutes.
    fn is_unique(&self) -> bool {
        if Elements::len(*self) < 2 {
            return true;
        }
        let keys = RandomState::new();
        let mut seen = HashSet::with_capacity(Elements::len(*self));
        let mut each = self.iter().map(|node| Seen(digest(node, &keys), node));
        each.all(|node| seen.insert(node))
    }
}

/// A value and its digest.
struct Seen<'a>(u64, Node<'a>);

impl PartialEq for Seen<'_> {
    fn eq(&self, other: &Seen<'_>) -> bool {
        self.0 == other.0 && self.1 == other.1
    }
}

impl Eq for Seen<'_> {}

impl Hash for Seen<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// The same for values that are equal; nobody who does not know the keys finds others for which it is.
fn digest(node: Node<'_>, keys: &RandomState) -> u64 {
    match node.kind() {
        Kind::Null => keys.hash_one('n'),
        Kind::Bool(value) => keys.hash_one(('b', value)),
        Kind::Number(number) => keys.hash_one(('1', worth(number))),
        Kind::Text(text) => keys.hash_one(('t', text)),
        Kind::Array(items) => {
            let mut all = keys.build_hasher();
            'a'.hash(&mut all);
            items
                .iter()
                .for_each(|item| all.write_u64(digest(item, keys)));
            all.finish()
        }
        Kind::Object(fields) => {
            let each = fields
                .iter()
                .map(|(key, node)| keys.hash_one((key, digest(node, keys))));
            keys.hash_one(('o', each.fold(0, u64::wrapping_add)))
        }
    }
}

/// What a number is worth, however it is written: an integer exactly, anything else by its bits.
fn worth(number: &Number) -> Result<i128, u64> {
    /// 2^64.
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    let integer = number.as_i64().map(i128::from);
    let integer = integer.or_else(|| number.as_u64().map(i128::from));
    let float = number.as_f64().unwrap_or_default();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is an integer below 2^64"
    )]
    let whole = || (float.fract().abs() <= 0.0 && float.abs() <= BEYOND).then_some(float as i128);
    integer.or_else(whole).ok_or(float.to_bits())
}

#[cfg(test)]
mod tests {
    use jsonschema::{draft202012, json::conformance};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Values that are often what one of the schemas asks for.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2_i64..3).prop_map(Value::from),
            prop::sample::select(vec![json!(1.0), json!(0.5), json!(u64::MAX), json!(1e300)]),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map("[abc]", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn schemas() -> Vec<Value> {
        vec![
            json!({"const": 1}),
            json!({"enum": [[1, {"a": 1.0}], {"a": 1, "b": []}, {}, "a", null, 1.0]}),
            json!({"items": {"enum": [[], {"a": 0}, {"a": null}, 1]}}),
            json!({"uniqueItems": true, "contains": {"type": "integer"}}),
            json!({"uniqueItems": true, "items": {"uniqueItems": true}}),
            json!({"required": ["a", "b"], "properties": {"a": {"type": "number", "maximum": 1}}}),
            json!({"propertyNames": {"enum": ["a", "b"]}, "minProperties": 1}),
            json!({"properties": {"a": {"$ref": "#"}, "b": {"minLength": 1}}, "additionalProperties": false}),
            json!({"oneOf": [{"type": "string"}, {"type": "array", "prefixItems": [{"const": {"a": 1}}], "items": false}]}),
            json!({"type": "object", "unevaluatedProperties": false, "anyOf": [
                {"properties": {"a": true}, "required": ["a"]}, {"properties": {"b": true}}]}),
        ]
    }

    proptest! {
        #[test]
        fn it_takes_what_it_takes_as_a_tree(value in any_value()) {
            let document = Document::from(&value);
            for schema in schemas() {
                let tree = draft202012::new(&schema).unwrap();
                let flat = jsonschema::options_for::<Documents>().build(&schema).unwrap();
                prop_assert_eq!(flat.is_valid(document.root()), tree.is_valid(&value), "{}", schema);
            }
        }
    }

    #[test]
    fn values_are_told_apart_and_numbers_are_what_they_are_worth() {
        let schema = json!({"uniqueItems": true});
        let schema = jsonschema::options_for::<Documents>()
            .build(&schema)
            .unwrap();
        let unique = |value: Value| schema.is_valid(Document::from(&value).root());
        assert!(unique(
            json!([0, false, null, "", [], {}, [[]], [[], []], [{}], {"a": {}}])
        ));
        assert!(unique(
            json!([{"a": 1, "b": 2}, {"a": 2, "b": 1}, [1, 2], [2, 1], "1"])
        ));
        assert!(!unique(json!([{"a": 1, "b": 2}, 3, {"b": 2.0, "a": 1}])));
        assert!(!unique(json!([1, 1.0])));
        assert!(!unique(json!([0.0, -0.0])));
        assert!(!unique(json!([1e300, 1e300])));
        assert!(!unique(json!([
            u64::MAX - 2047,
            18_446_744_073_709_549_568.0
        ])));
        assert!(unique(json!([u64::MAX, u64::MAX - 1, i64::MIN, 0.5])));
    }

    #[test]
    fn the_validator_sees_what_is_there() {
        let document = Document::from(conformance::document());
        conformance::assert_conformance::<Documents>(&document.root());
    }
}
