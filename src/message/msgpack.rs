//! `MessagePack` ↔ value, under the same rules as JSON. Binary becomes base64 text.

use base64::{Engine, prelude::BASE64_STANDARD};
use rmpv::{ValueRef, decode::read_value_ref_with_max_depth};
use serde_json::{Map, Number, Value};

use super::codec::MAX_DEPTH;

/// Parses a body.
///
/// # Errors
/// What is wrong; nothing of the content is quoted.
pub(super) fn parse(body: &[u8]) -> Result<Value, String> {
    let mut rest = body;
    // rmpv counts a scalar as a level of its own.
    let value = read_value_ref_with_max_depth(&mut rest, MAX_DEPTH + 1).map_err(|error| {
        let at = body.len() - rest.len();
        match error {
            rmpv::decode::Error::DepthLimitExceeded => {
                format!("nested deeper than {MAX_DEPTH} levels")
            }
            rmpv::decode::Error::InvalidMarkerRead(_) | rmpv::decode::Error::InvalidDataRead(_) => {
                format!("the value is cut off or not MessagePack near byte {at}")
            }
        }
    })?;
    if !rest.is_empty() {
        return Err(format!("{} bytes follow the value", rest.len()));
    }
    convert(value)
}

fn convert(value: ValueRef<'_>) -> Result<Value, String> {
    Ok(match value {
        ValueRef::Nil => Value::Null,
        ValueRef::Boolean(value) => Value::Bool(value),
        ValueRef::Integer(value) => match (value.as_u64(), value.as_i64()) {
            (Some(value), _) => value.into(),
            (None, Some(value)) => value.into(),
            (None, None) => return Err("an integer has more than 64 bits".to_owned()),
        },
        // As its shortest decimal, so that 0.1 sent in 32 bits is 0.1 here.
        ValueRef::F32(value) => number(value.to_string().parse().unwrap_or(f64::NAN))?,
        ValueRef::F64(value) => number(value)?,
        ValueRef::String(text) => Value::String(
            text.into_str()
                .ok_or("a string is not UTF-8; send binary as the bin type")?
                .to_owned(),
        ),
        ValueRef::Binary(bytes) => Value::String(BASE64_STANDARD.encode(bytes)),
        ValueRef::Array(values) => {
            Value::Array(values.into_iter().map(convert).collect::<Result<_, _>>()?)
        }
        ValueRef::Map(entries) => {
            let mut map = Map::with_capacity(entries.len());
            for (key, value) in entries {
                let ValueRef::String(key) = key else {
                    return Err("a map's key is not a string".to_owned());
                };
                let key = key.into_str().ok_or("a map's key is not UTF-8")?.to_owned();
                if map.insert(key, convert(value)?).is_some() {
                    return Err("a key stands twice in one map".to_owned());
                }
            }
            Value::Object(map)
        }
        ValueRef::Ext(..) => return Err("extension types have no meaning here".to_owned()),
    })
}

fn number(value: f64) -> Result<Value, String> {
    Number::from_f64(value)
        .map(Value::Number)
        .ok_or_else(|| "a number is not finite".to_owned())
}
