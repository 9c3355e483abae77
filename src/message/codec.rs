//! Bodies: content types and encodings, within limits.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::{
    json, msgpack,
    object::Object,
    rejection::{Code, Rejection, Stage},
};

/// How deep a body may nest.
pub const MAX_DEPTH: usize = 64;

/// A zstd frame may ask for a window of up to 2^this bytes: 8 MiB, as RFC 8878 recommends to support.
const ZSTD_WINDOW_LOG: u32 = 23;

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// `application/json`.
    Json,
    /// `application/vnd.msgpack`, `application/msgpack`, `application/x-msgpack`.
    MessagePack,
    /// `image/png`, `image/jpeg`, `image/webp`: which one it is, its first bytes say.
    Picture,
}

impl ContentType {
    /// Reads a media type, parameters and case aside; `None` for one that has no meaning here.
    #[must_use]
    pub fn parse(text: &str) -> Option<ContentType> {
        let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
        let charset = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("charset")
                .then(|| value.trim().trim_matches('"'))
        });
        if charset.is_some_and(|charset| !is_utf8(charset)) {
            return None;
        }
        Some(match media.trim().to_ascii_lowercase().as_str() {
            "application/json" | "text/json" => ContentType::Json,
            "application/vnd.msgpack" | "application/msgpack" | "application/x-msgpack" => {
                ContentType::MessagePack
            }
            "image/png" | "image/jpeg" | "image/jpg" | "image/webp" => ContentType::Picture,
            _ => return None,
        })
    }
}

/// A charset whose bytes are UTF-8's.
fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii", "ascii"]
        .iter()
        .any(|known| charset.eq_ignore_ascii_case(known))
}

/// How a reply's body is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    #[default]
    Json,
    /// MessagePack.
    MessagePack,
}

impl Encoding {
    /// What a requester gets: what it asks for in `inferq-accept`, else what it wrote, else JSON.
    #[must_use]
    pub fn of(accept: Option<&str>, content_type: Option<&str>) -> Encoding {
        let known = |text: Option<&str>| match ContentType::parse(text?)? {
            ContentType::Json => Some(Encoding::Json),
            ContentType::MessagePack => Some(Encoding::MessagePack),
            ContentType::Picture => None,
        };
        known(accept)
            .or_else(|| known(content_type))
            .unwrap_or_default()
    }

    /// Writes a value.
    #[must_use]
    pub fn write(self, value: &Value) -> Vec<u8> {
        // Neither can fail on a `Value`: keys are strings, numbers finite, and a `Vec` takes all bytes.
        match self {
            Encoding::Json => serde_json::to_vec(value).unwrap_or_default(),
            Encoding::MessagePack => rmp_serde::to_vec(value).unwrap_or_default(),
        }
    }
}

/// What a package takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a body, decompressed.
    pub request_bytes: usize,
    /// Whether a picture may be the whole body.
    pub accepts_pictures: bool,
}

/// Bytes of a message → business object.
///
/// # Errors
/// `unsupported_media_type`, `request_too_large`, `malformed_message`.
pub fn decode(
    content_type: Option<&str>,
    content_encoding: Option<&str>,
    body: &Bytes,
    limits: &Limits,
) -> Result<Object, Rejection> {
    let content_type = match content_type {
        None | Some("") => ContentType::Json,
        Some(text) => {
            ContentType::parse(text).ok_or_else(|| unsupported("content_type", limits))?
        }
    };
    if content_type == ContentType::Picture && !limits.accepts_pictures {
        return Err(unsupported("content_type", limits));
    }
    let body = decompress(content_encoding, body, limits)?;
    if body.is_empty() {
        let expected = "the body is empty; expected the business object itself";
        return Err(Rejection::new(
            Code::MalformedMessage,
            Stage::Decode,
            expected,
        ));
    }
    match content_type {
        ContentType::Picture => Ok(Object::Picture(body)),
        ContentType::Json => json::parse(&body)
            .map(Object::Value)
            .map_err(|fault| malformed("JSON", &fault)),
        ContentType::MessagePack => msgpack::parse(&body)
            .map(Object::Value)
            .map_err(|fault| malformed("MessagePack", &fault)),
    }
}

/// A reply's body as JSON, for those who read replies; `None` when it is neither JSON nor MessagePack.
#[must_use]
pub fn read_reply(content_type: Option<&str>, body: &[u8]) -> Option<Value> {
    match content_type? {
        "application/problem+json" => json::parse(body).ok(),
        text => match ContentType::parse(text)? {
            ContentType::Json => json::parse(body).ok(),
            ContentType::MessagePack => msgpack::parse(body).ok(),
            ContentType::Picture => None,
        },
    }
}

fn malformed(what: &str, fault: &str) -> Rejection {
    let detail = format!("the body is not the {what} that is expected here: {fault}");
    Rejection::new(Code::MalformedMessage, Stage::Decode, detail)
}

fn unsupported(property: &str, limits: &Limits) -> Rejection {
    let pictures = if limits.accepts_pictures {
        ", image/png, image/jpeg, image/webp"
    } else {
        ""
    };
    let detail = format!(
        "{property} is none that this package takes; send application/json or application/vnd.msgpack{pictures}, in UTF-8, plain or with content_encoding gzip or zstd"
    );
    Rejection::new(Code::UnsupportedMediaType, Stage::Decode, detail)
}

fn too_large(found: &str, limits: &Limits) -> Rejection {
    let limit = limits.request_bytes;
    let detail =
        format!("the body has {found} bytes, this package takes {limit}; send a smaller one");
    Rejection::new(Code::RequestTooLarge, Stage::Decode, detail)
}

/// Inflates to one byte past the limit and no further: what a bomb would hold is never held.
fn decompress(encoding: Option<&str>, body: &Bytes, limits: &Limits) -> Result<Bytes, Rejection> {
    if body.len() > limits.request_bytes {
        return Err(too_large(&body.len().to_string(), limits));
    }
    let reader: Box<dyn Read + '_> = match encoding.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity" | "binary") => return Ok(body.clone()),
        Some(charset) if is_utf8(charset) => return Ok(body.clone()),
        Some("gzip" | "x-gzip") => Box::new(MultiGzDecoder::new(body.as_ref())),
        Some("zstd") => {
            let decoder = zstd::Decoder::with_buffer(body.as_ref()).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Ok(decoder)
            });
            Box::new(decoder.map_err(|_| malformed("zstd stream", "the decoder does not start"))?)
        }
        Some(_) => return Err(unsupported("content_encoding", limits)),
    };
    let mut inflated = Vec::new();
    let bound = limits.request_bytes as u64 + 1;
    reader.take(bound).read_to_end(&mut inflated).map_err(|_| {
        malformed(
            "compressed stream",
            "it is cut off or damaged; compress the body as content_encoding says",
        )
    })?;
    if inflated.len() > limits.request_bytes {
        return Err(too_large(
            &format!("more than {}", limits.request_bytes),
            limits,
        ));
    }
    Ok(inflated.into())
}
