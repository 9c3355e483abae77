//! JSON.

use serde::de::DeserializeSeed;
use serde_json::{Deserializer, error::Category};

use crate::message::{
    codec::{hint, malformed, value::Walk},
    document::Document,
    rejection::Rejection,
};

pub(super) fn decode(body: &[u8], depth: usize) -> Result<Document, Rejection> {
    let text = std::str::from_utf8(body).map_err(|error| {
        malformed(format!(
            "the body is not JSON: byte {} is not UTF-8{}",
            error.valid_up_to(),
            hint(body)
        ))
    })?;
    // RFC 8259 §8.1: a byte order mark may be ignored; .NET's writers put one there.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut json = Deserializer::from_str(text);
    let mut walk = Walk::new(depth, text.len());
    let read = walk.root().deserialize(&mut json);
    match read.and_then(|()| json.end()) {
        Ok(()) => Ok(walk.into_document()),
        Err(error) => Err(explain(&error, text, &walk)),
    }
}

fn explain(error: &serde_json::Error, text: &str, walk: &Walk) -> Rejection {
    // None of serde_json's own messages quotes its input, nor do those of our visitor.
    let detail = match error.classify() {
        Category::Eof => format!("the body ends inside a JSON value: {error}; was it cut off?"),
        Category::Data => format!("the body is not taken: {error}"),
        Category::Syntax | Category::Io => {
            format!(
                "the body cannot be read as JSON: {error}{}",
                not_finite(error, text)
            )
        }
    };
    located(detail, walk)
}

pub(super) fn located(detail: String, walk: &Walk) -> Rejection {
    let pointer = walk.pointer();
    if pointer.is_empty() {
        malformed(detail)
    } else {
        malformed(detail).at(pointer, "the reading failed here")
    }
}

/// Python's `json` writes `NaN`, `Infinity` and `-Infinity`, which JSON does not have.
fn not_finite(error: &serde_json::Error, text: &str) -> &'static str {
    let line = text.split('\n').nth(error.line().saturating_sub(1));
    let at = error.column().saturating_sub(2);
    let near = line.and_then(|line| line.as_bytes().get(at..));
    let near = near.unwrap_or_default();
    let window = near.get(..near.len().min(5)).unwrap_or_default();
    if window.windows(3).any(|w| w == b"NaN" || w == b"Inf") {
        "; JSON has no NaN and no Infinity: send null or leave the field out"
    } else {
        ""
    }
}
