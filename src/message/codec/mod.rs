//! Bodies → business objects, and values → bodies. Nothing here panics, overflows the stack or
//! allocates beyond the limits, whatever the bytes.

#[cfg(test)]
mod corners;
mod inflate;
mod msgpack;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod text;
mod value;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::message::{
    media::{ContentEncoding, ContentType, Encoding, MediaFault},
    object::Object,
    rejection::{Code, Rejection, Stage},
};

/// How much of a body is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body, both as it arrives and decompressed.
    pub request_bytes: usize,
    /// Whether the package's request may be one picture.
    pub accepts_pictures: bool,
    /// How deep arrays and objects may be nested. Effective up to 127.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_bytes: 1 << 20,
            accepts_pictures: false,
            depth: 64,
        }
    }
}

/// Reads a request's body. The size is checked first: what is too large is not looked at.
///
/// JSON and MessagePack obey the same rules: no key twice in an object, no number that is not finite,
/// nothing after the value. MessagePack's binary becomes base64 text (standard alphabet, padded);
/// extension types and keys that are not text are refused.
///
/// # Errors
/// `request_too_large`, `unsupported_media_type` or `malformed_message`, all of stage `decode`.
/// Details give positions and expectations, and never quote the body.
pub fn decode(
    content_type: Option<&str>,
    content_encoding: Option<&str>,
    body: &Bytes,
    limits: &Limits,
) -> Result<(Object, ContentType), Rejection> {
    let limit = limits.request_bytes;
    if body.len() > limit {
        return Err(too_large(
            &format!("the body has {} bytes", body.len()),
            limit,
        ));
    }
    let unsupported = |fault: MediaFault| fault.rejection(limits.accepts_pictures);
    let kind = ContentType::parse(content_type).map_err(unsupported)?;
    if kind.is_picture() && !limits.accepts_pictures {
        let found = content_type.unwrap_or_default();
        return Err(unsupported(MediaFault::Picture(found.to_owned())));
    }
    let encoding = ContentEncoding::parse(content_encoding).map_err(unsupported)?;
    if body.is_empty() {
        return Err(malformed("the body is empty; send the business object"));
    }
    let body = inflate::inflate(encoding, body, limit)?;
    if body.is_empty() {
        return Err(malformed(
            "the body is empty once decompressed; send the business object",
        ));
    }
    let object = match kind {
        ContentType::Json => Object::Value(text::decode(&body, limits.depth)?),
        ContentType::MessagePack => Object::Value(msgpack::decode(&body, limits.depth)?),
        ContentType::Png | ContentType::Jpeg | ContentType::Webp => {
            Object::Picture(body.into_owned())
        }
    };
    Ok((object, kind))
}

/// Writes a value.
///
/// # Errors
/// `internal_fault`: a value nested more than a thousand deep, which no package can make.
pub fn encode(value: &Value, encoding: Encoding) -> Result<Vec<u8>, Rejection> {
    write(value, encoding)
}

/// Writes anything; structs become maps in MessagePack too.
pub(in crate::message) fn write<T: Serialize>(
    value: &T,
    encoding: Encoding,
) -> Result<Vec<u8>, Rejection> {
    match encoding {
        Encoding::Json => serde_json::to_vec(value).ok(),
        Encoding::MessagePack => rmp_serde::to_vec_named(value).ok(),
    }
    .ok_or_else(|| {
        Rejection::new(
            Code::InternalFault,
            Stage::Encode,
            "the result could not be written; the package's owner has to mend that",
        )
    })
}

fn malformed(detail: impl Into<String>) -> Rejection {
    Rejection::new(Code::MalformedMessage, Stage::Decode, detail)
}

fn too_large(found: &str, limit: usize) -> Rejection {
    let detail = format!("{found}; this package takes at most {limit}");
    Rejection::new(Code::RequestTooLarge, Stage::Decode, detail)
}

/// What a body that is not what its `content_type` says may be instead, from its first bytes.
fn hint(body: &[u8]) -> &'static str {
    const KNOWN: [(&[u8], &str); 6] = [
        (
            b"\x1f\x8b",
            "; it looks like gzip: set content_encoding to gzip",
        ),
        (
            b"\x28\xb5\x2f\xfd",
            "; it looks like zstd: set content_encoding to zstd",
        ),
        (
            b"\x89PNG",
            "; it looks like a PNG picture: set content_type to image/png",
        ),
        (
            b"\xff\xd8\xff",
            "; it looks like a JPEG picture: set content_type to image/jpeg",
        ),
        (
            b"RIFF",
            "; it looks like a WebP picture: set content_type to image/webp",
        ),
        (
            b"\x80\x04\x95",
            "; it looks like a Python pickle, which is never read: send JSON",
        ),
    ];
    KNOWN
        .iter()
        .find(|(magic, _)| body.starts_with(magic))
        .map_or("", |(_, hint)| hint)
}
