//! The business object, decoded.

use bytes::Bytes;
use serde_json::Value;

use crate::message::document::Document;

/// What a producer asks about: a JSON value (JSON and MessagePack bodies), or one picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A JSON value. Binary of MessagePack stands in it as base64 text.
    Value(Document),
    /// The undecoded bytes of a PNG, JPEG or WebP file.
    Picture(Bytes),
}

impl From<Value> for Object {
    fn from(value: Value) -> Object {
        Object::Value(value.into())
    }
}
