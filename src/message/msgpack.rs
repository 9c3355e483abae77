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
    let value = convert(value)?;
    // rmpv takes the one byte that the format never uses for nil
    if body.contains(&RESERVED) && uses_reserved(body) {
        return Err("a byte that MessagePack never uses stands in the place of a value".to_owned());
    }
    Ok(value)
}

const RESERVED: u8 = 0xc1;

/// Walks the markers of a body that has been parsed and has no extensions: what a container holds simply
/// follows it.
fn uses_reserved(mut rest: &[u8]) -> bool {
    while let Some((&marker, after)) = rest.split_first() {
        // bytes of a length, and bytes to pass beside what that length says
        let (length, more): (usize, usize) = match marker {
            RESERVED => return true,
            0xa0..=0xbf => (0, usize::from(marker & 0x1f)),
            0xc4 | 0xd9 => (1, 0),
            0xc5 | 0xda => (2, 0),
            0xc6 | 0xdb => (4, 0),
            0xcc | 0xd0 => (0, 1),
            0xcd | 0xd1 | 0xdc | 0xde => (0, 2),
            0xca | 0xce | 0xd2 | 0xdd | 0xdf => (0, 4),
            0xcb | 0xcf | 0xd3 => (0, 8),
            _ => (0, 0),
        };
        let Some((length, after)) = after.split_at_checked(length) else {
            return false;
        };
        let length = length
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        rest = after.get(length + more..).unwrap_or_default();
    }
    false
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_byte_that_is_never_used_is_refused_as_a_value_and_taken_inside_of_one() {
        // 0xc1 as integer, as length, in text, in binary, in a float
        let deep =
            json!([0xc1, "\u{41}", "x".repeat(0xc1), [true, { "\u{c1}": -63 }], 1_u64 << 40]);
        let mut body = rmp_serde::to_vec(&deep).unwrap();
        assert_eq!(parse(&body).unwrap(), deep);
        for value in [
            &[0xc4, 2, 0xc1, 0xc1][..],
            &[0xca, 0x41, 0xc1, 0xc1, 0],
            &[0xd1, 0, 0xc1],
        ] {
            assert!(parse(value).is_ok(), "{value:x?}");
        }
        body.splice(0..1, [0x96, RESERVED]);
        assert!(parse(&body).is_err());
        assert!(parse(&[RESERVED]).is_err());
        assert!(parse(&[0x81, 0xa1, b'k', RESERVED]).is_err());
    }
}
