//! Whether two answers are the same.

use serde_json::Value;

use super::{shape::escaped, words::rendered as short};

/// The first place where an answer is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// JSON pointer into the answer.
    pub pointer: String,
    /// What was expected there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Compares `found` with `expected`: text, booleans and integers exactly, for they may be labels; numbers of which
/// at least one has a decimal point within `tolerance` + `tolerance` · |expected|. Write `3.0` for a number that is
/// whole by chance.
#[must_use]
pub fn difference(expected: &Value, found: &Value, tolerance: f64) -> Option<Difference> {
    at("", expected, found, tolerance)
}

fn at(pointer: &str, expected: &Value, found: &Value, tolerance: f64) -> Option<Difference> {
    let told = |expected: String, found: String| {
        Some(Difference {
            pointer: pointer.to_owned(),
            expected,
            found,
        })
    };
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let inner = |key: &String| format!("{pointer}/{}", escaped(key));
            let surplus = || found.keys().find(|key| !expected.contains_key(*key));
            expected
                .iter()
                .find_map(|(key, value)| match found.get(key) {
                    Some(found) => at(&inner(key), value, found, tolerance),
                    None => Some(Difference {
                        pointer: inner(key),
                        expected: short(value),
                        found: "nothing".into(),
                    }),
                })
                .or_else(|| {
                    let key = surplus()?;
                    Some(Difference {
                        pointer: inner(key),
                        expected: "nothing".into(),
                        found: found.get(key).map(short)?,
                    })
                })
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() != found.len() => told(
            format!("{} items", expected.len()),
            format!("{} items", found.len()),
        ),
        (Value::Array(expected), Value::Array(found)) => {
            let pairs = expected.iter().zip(found).enumerate();
            let mut pairs = pairs.map(|(i, pair)| (format!("{pointer}/{i}"), pair));
            pairs.find_map(|(pointer, (expected, found))| at(&pointer, expected, found, tolerance))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else {
                return told(short(expected), short(found));
            };
            // Written so that what is not a number differs from everything.
            if (a - b).abs() <= tolerance + tolerance * a.abs() {
                return None;
            }
            told(format!("{a} ± {tolerance}"), b.to_string())
        }
        (expected, found) if expected == found => None,
        (expected, found) => told(short(expected), short(found)),
    }
}
