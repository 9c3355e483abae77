//! JSON pointers (RFC 6901), split once so that a lookup is a walk.

use crate::{
    fault::SpecFault,
    message::document::{Kind, Node},
};

/// A JSON pointer, ready to be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    key: String,
    /// The same as an array index, where it can be one.
    index: Option<usize>,
}

impl Pointer {
    /// Splits `text`, which stands at `key` of a manifest.
    pub(crate) fn parse(text: &str, key: impl Into<String>) -> Result<Self, SpecFault> {
        let fault = |mend: String| {
            Err(SpecFault::new(
                key,
                format!("{text:?}"),
                "a JSON pointer (RFC 6901)",
                mend,
            ))
        };
        let tail = match text.strip_prefix('/') {
            Some(tail) => tail,
            None if text.is_empty() => {
                return Ok(Pointer {
                    text: String::new(),
                    tokens: Vec::new(),
                });
            }
            None => {
                return fault(format!(
                    "write \"/\" before every key, as in {:?}",
                    suggestion(text)
                ));
            }
        };
        let Some(tokens) = tail.split('/').map(Token::parse).collect() else {
            return fault(
                "inside a key write \"~0\" for \"~\" and \"~1\" for \"/\"; \"~\" stands for nothing else".into(),
            );
        };
        Ok(Pointer {
            text: text.to_owned(),
            tokens,
        })
    }

    /// The pointer as it is written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// What it points at in `value`.
    pub(crate) fn get<'v>(&self, value: Node<'v>) -> Option<Node<'v>> {
        self.below(self.parent(value)?)
    }

    /// Where in `value` its last key is looked up.
    pub(crate) fn parent<'v>(&self, value: Node<'v>) -> Option<Node<'v>> {
        let mut parents = self.parents().iter();
        parents.try_fold(value, |value, token| token.get(value))
    }

    /// What it points at below its parent, unless that is null.
    pub(crate) fn present_below<'v>(&self, parent: Node<'v>) -> Option<Node<'v>> {
        self.below(parent).filter(|found| !found.is_null())
    }

    /// Whether the last keys of both are looked up in the same place.
    pub(crate) fn is_sibling(&self, other: &Pointer) -> bool {
        self.parents() == other.parents()
    }

    fn below<'v>(&self, parent: Node<'v>) -> Option<Node<'v>> {
        let last = self.tokens.last();
        last.map_or(Some(parent), |token| token.get(parent))
    }

    fn parents(&self) -> &[Token] {
        self.tokens.split_last().map_or(&[], |(_, parents)| parents)
    }

    /// What it points at in `value`, unless that is null.
    pub(crate) fn present<'v>(&self, value: Node<'v>) -> Option<Node<'v>> {
        self.get(value).filter(|found| !found.is_null())
    }
}

impl Token {
    fn get<'v>(&self, value: Node<'v>) -> Option<Node<'v>> {
        match value.kind() {
            Kind::Object(fields) => fields.get(&self.key),
            Kind::Array(items) => items.get(self.index?),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => None,
        }
    }

    fn parse(escaped: &str) -> Option<Self> {
        let mut pieces = escaped.split('~');
        let mut key = pieces.next()?.to_owned();
        for piece in pieces {
            let (unescaped, rest) = match piece.strip_prefix('0') {
                Some(rest) => ('~', rest),
                None => ('/', piece.strip_prefix('1')?),
            };
            key.push(unescaped);
            key.push_str(rest);
        }
        let canonical =
            key == "0" || (!key.starts_with('0') && key.bytes().all(|b| b.is_ascii_digit()));
        let index = if canonical { key.parse().ok() } else { None };
        Some(Token { key, index })
    }
}

/// What someone who wrote `a.b[0]`, `$.a.b` or `a/b` meant.
fn suggestion(text: &str) -> String {
    let path = text.strip_prefix('$').unwrap_or(text);
    let keys = path
        .split(['.', '/', '[', ']'])
        .filter(|key| !key.is_empty());
    keys.flat_map(|key| ["/", key]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::message::document::Document;

    fn found(text: &str, value: &Value) -> Option<Value> {
        let document = Document::from(value);
        pointer(text).get(document.root()).map(Node::to_value)
    }

    fn pointer(text: &str) -> Pointer {
        Pointer::parse(text, "k").unwrap()
    }

    #[test]
    fn the_examples_of_rfc_6901_are_found() {
        let doc = json!({"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "m~n": 8, "k\"l": 6, " ": 7, "01": 9});
        for (text, expected) in [
            ("/foo/0", json!("bar")),
            ("/", json!(0)),
            ("/a~1b", json!(1)),
            ("/c%d", json!(2)),
            ("/m~0n", json!(8)),
            ("/k\"l", json!(6)),
            ("/ ", json!(7)),
            ("/01", json!(9)),
        ] {
            assert_eq!(found(text, &doc), Some(expected), "{text}");
        }
        assert_eq!(found("", &doc), Some(doc.clone()));
        for nowhere in ["/foo/01", "/foo/-", "/foo/2", "/foo/+1", "/foo/0/x", "/nil"] {
            assert_eq!(found(nowhere, &doc), None, "{nowhere}");
        }
    }

    #[test]
    fn what_is_no_pointer_is_answered_with_how_to_write_it() {
        for (text, mend) in [
            ("age", "\"/age\""),
            ("sender.age", "\"/sender/age\""),
            ("$.items[0].id", "\"/items/0/id\""),
            ("/a~b", "~0"),
            ("/a~", "~0"),
        ] {
            let fault = Pointer::parse(text, "k").unwrap_err();
            assert!(fault.mend.contains(mend), "{text}: {fault}");
        }
    }

    proptest! {
        #[test]
        fn a_split_pointer_finds_what_serde_json_finds(text in "(/[ab01~]{0,3}){0,3}") {
            let doc = json!({"a": [{"b": 1}, 2], "0": {"": 3}, "~": 4, "": 5, "b": null});
            if Pointer::parse(&text, "k").is_ok() {
                prop_assert_eq!(found(&text, &doc), doc.pointer(&text).cloned());
            }
        }
    }
}
