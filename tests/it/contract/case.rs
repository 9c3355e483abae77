//! One request as `tests/clients/wire.py` reads it, and what must come back.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// A request and its answer: `outcome`, or a rejection's code.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) package: String,
    pub(super) wire: Value,
    pub(super) expected: &'static str,
    /// Where the rejection must point.
    pub(super) pointer: Option<&'static str>,
    /// A part that the outcome must have.
    pub(super) part: Option<(&'static str, Value)>,
}

impl Case {
    fn new(name: &str, package: &str, key: &str, content: &Value) -> Case {
        Case {
            name: name.to_owned(),
            package: package.to_owned(),
            wire: json!({ "name": name, "package": package, key: content, "properties": {} }),
            expected: "outcome",
            pointer: None,
            part: None,
        }
    }

    /// A business object, encoded and compressed by the client as its properties say.
    pub(super) fn object(name: &str, package: &str, object: impl Into<Value>) -> Case {
        Case::new(name, package, "object", &object.into())
    }

    /// A body, byte for byte.
    pub(super) fn body(name: &str, package: &str, body: impl AsRef<[u8]>) -> Case {
        Case::new(
            name,
            package,
            "body_base64",
            &BASE64_STANDARD.encode(body).into(),
        )
    }

    /// A property.
    pub(super) fn with(mut self, property: &str, value: impl Into<Value>) -> Case {
        self.wire["properties"][property] = value.into();
        self
    }

    /// A header.
    pub(super) fn header(mut self, key: &str, value: impl Into<Value>) -> Case {
        self.wire["properties"]["headers"][key] = value.into();
        self
    }

    /// Replies come through direct reply-to, or a queue of the case's own.
    pub(super) fn direct(mut self, direct: bool) -> Case {
        self.wire["direct_reply"] = direct.into();
        self
    }

    /// The code of the rejection that must come back.
    pub(super) fn gets(mut self, code: &'static str) -> Case {
        self.expected = code;
        self
    }

    /// The pointer of one of its errors.
    pub(super) fn at(mut self, pointer: &'static str) -> Case {
        self.pointer = Some(pointer);
        self
    }

    /// A part of the outcome.
    pub(super) fn says(mut self, key: &'static str, value: impl Into<Value>) -> Case {
        self.part = Some((key, value.into()));
        self
    }

    /// A property as text.
    pub(super) fn property(&self, key: &str) -> Option<&str> {
        self.wire["properties"].get(key)?.as_str()
    }

    /// A header as text.
    pub(super) fn header_text(&self, key: &str) -> Option<&str> {
        self.wire["properties"].get("headers")?.get(key)?.as_str()
    }
}
