//! Documents, as the validator of JSON Schema looks at them.

use std::borrow::Cow;

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
    fn the_validator_sees_what_is_there() {
        let document = Document::from(conformance::document());
        conformance::assert_conformance::<Documents>(&document.root());
    }
}
