//! The content types and encodings that the contract knows.

use crate::message::rejection::{Code, Rejection, Stage};

/// What a request's body is, from its `content_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `application/json`; also what an absent or empty `content_type` means.
    Json,
    /// `application/vnd.msgpack`, `application/msgpack` or `application/x-msgpack`.
    MessagePack,
    /// `image/png`.
    Png,
    /// `image/jpeg`, and the common misspelling `image/jpg`.
    Jpeg,
    /// `image/webp`.
    Webp,
}

impl ContentType {
    /// Reads an AMQP `content_type`. Case does not matter; parameters are ignored, but for the charset of JSON.
    ///
    /// # Errors
    /// A type that the contract does not know, or JSON in another charset than UTF-8.
    pub fn parse(content_type: Option<&str>) -> Result<ContentType, MediaFault> {
        // The most common first, without a copy.
        if matches!(content_type, None | Some("application/json")) {
            return Ok(ContentType::Json);
        }
        let mut parts = content_type.unwrap_or_default().split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let kind = match essence.to_ascii_lowercase().as_str() {
            "" | "application/json" => ContentType::Json,
            "application/vnd.msgpack" | "application/msgpack" | "application/x-msgpack" => {
                ContentType::MessagePack
            }
            "image/png" => ContentType::Png,
            "image/jpeg" | "image/jpg" => ContentType::Jpeg,
            "image/webp" => ContentType::Webp,
            _ => return Err(MediaFault::ContentType(printable(essence))),
        };
        if kind == ContentType::Json {
            for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
                let charset = value.trim().trim_matches('"');
                if name.trim().eq_ignore_ascii_case("charset") && !is_utf8(charset) {
                    return Err(MediaFault::Charset(printable(charset)));
                }
            }
        }
        Ok(kind)
    }

    /// Whether the body is a picture.
    #[must_use]
    pub fn is_picture(self) -> bool {
        match self {
            ContentType::Json | ContentType::MessagePack => false,
            ContentType::Png | ContentType::Jpeg | ContentType::Webp => true,
        }
    }

    /// How a reply to such a request is written: as the request was, JSON for a picture.
    #[must_use]
    pub fn reply_encoding(self) -> Encoding {
        match self {
            ContentType::MessagePack => Encoding::MessagePack,
            ContentType::Json | ContentType::Png | ContentType::Jpeg | ContentType::Webp => {
                Encoding::Json
            }
        }
    }
}

/// How a reply's body is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON text.
    #[default]
    Json,
    /// MessagePack of the same value.
    MessagePack,
}

impl Encoding {
    /// What the header `inferq-accept` asks for; `None` where it asks for what inferq does not write.
    #[must_use]
    pub fn accepted(accept: &str) -> Option<Encoding> {
        match ContentType::parse(Some(accept)).ok()? {
            ContentType::Json if !accept.trim().is_empty() => Some(Encoding::Json),
            ContentType::MessagePack => Some(Encoding::MessagePack),
            ContentType::Json | ContentType::Png | ContentType::Jpeg | ContentType::Webp => None,
        }
    }

    /// The `content_type` of an outcome.
    #[must_use]
    pub fn of_outcome(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::MessagePack => "application/vnd.msgpack",
        }
    }

    /// The `content_type` of a rejection.
    #[must_use]
    pub fn of_rejection(self) -> &'static str {
        match self {
            Encoding::Json => "application/problem+json",
            Encoding::MessagePack => "application/vnd.msgpack",
        }
    }
}

/// How a request's body is compressed, from its `content_encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentEncoding {
    /// Not at all. Charsets count as this: several clients put `UTF-8`, `us-ascii` or `binary` there.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl ContentEncoding {
    /// Reads an AMQP `content_encoding`. Case does not matter.
    ///
    /// # Errors
    /// An encoding that the contract does not know.
    pub fn parse(content_encoding: Option<&str>) -> Result<ContentEncoding, MediaFault> {
        let name = content_encoding.unwrap_or_default().trim();
        match name.to_ascii_lowercase().as_str() {
            "" | "identity" | "binary" => Ok(ContentEncoding::Identity),
            "gzip" | "x-gzip" => Ok(ContentEncoding::Gzip),
            "zstd" => Ok(ContentEncoding::Zstd),
            charset if is_utf8(charset) => Ok(ContentEncoding::Identity),
            _ => Err(MediaFault::ContentEncoding(printable(name))),
        }
    }
}

/// A content type or encoding that the contract does not know; each holds what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaFault {
    /// Another `content_type`.
    ContentType(String),
    /// A picture, for a package that takes none.
    Picture(String),
    /// JSON in another charset.
    Charset(String),
    /// Another `content_encoding`.
    ContentEncoding(String),
}

impl MediaFault {
    /// What the requester is told; the list depends on whether the package takes pictures.
    #[must_use]
    pub fn rejection(&self, accepts_pictures: bool) -> Rejection {
        let types = if accepts_pictures {
            "application/json, application/vnd.msgpack, image/png, image/jpeg or image/webp"
        } else {
            "application/json or application/vnd.msgpack"
        };
        let detail = match self {
            MediaFault::ContentType(found) => {
                format!("the content_type is {found}; this package takes {types}")
            }
            MediaFault::Picture(found) => format!(
                "the content_type is {found}, but this package takes no picture; it takes {types}"
            ),
            MediaFault::Charset(found) => {
                format!("the charset is {found}; JSON is taken in utf-8 only")
            }
            MediaFault::ContentEncoding(found) => format!(
                "the content_encoding is {found}; it may be gzip, zstd or absent for an uncompressed body"
            ),
        };
        Rejection::new(Code::UnsupportedMediaType, Stage::Decode, detail)
    }
}

fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii", "ascii"]
        .iter()
        .any(|known| charset.eq_ignore_ascii_case(known))
}

/// A media type or token as it may be shown; anything else only as what it is.
pub(crate) fn printable(found: &str) -> String {
    let token = |c: char| c.is_ascii_alphanumeric() || "/+-._".contains(c);
    if !found.is_empty() && found.len() <= 80 && found.chars().all(token) {
        found.to_owned()
    } else {
        "not a valid name".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_read_whatever_their_case_and_parameters() {
        for (text, expected) in [
            (None, ContentType::Json),
            (Some(""), ContentType::Json),
            (Some("application/json"), ContentType::Json),
            (Some("Application/JSON; charset=UTF-8"), ContentType::Json),
            (
                Some("application/json;charset=\"utf-8\"; v=1"),
                ContentType::Json,
            ),
            (
                Some("application/json; charset=us-ascii"),
                ContentType::Json,
            ),
            (Some("application/vnd.msgpack"), ContentType::MessagePack),
            (Some("application/msgpack"), ContentType::MessagePack),
            (Some("application/x-msgpack ; x"), ContentType::MessagePack),
            (Some("image/png"), ContentType::Png),
            (Some("image/JPEG"), ContentType::Jpeg),
            (Some("image/jpg"), ContentType::Jpeg),
            (Some("image/webp; q=1"), ContentType::Webp),
        ] {
            assert_eq!(ContentType::parse(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn other_content_types_and_charsets_are_unsupported() {
        for text in ["text/plain", "json", "application/json+x", "image/gif", "é"] {
            let fault = ContentType::parse(Some(text)).unwrap_err();
            assert!(
                matches!(fault, MediaFault::ContentType(_)),
                "{text}: {fault:?}"
            );
            assert_eq!(fault.rejection(true).code, Code::UnsupportedMediaType);
        }
        let fault = ContentType::parse(Some("application/json; charset=latin1")).unwrap_err();
        assert_eq!(fault, MediaFault::Charset("latin1".to_owned()));
    }

    #[test]
    fn a_charset_in_content_encoding_is_identity() {
        for text in [
            None,
            Some(""),
            Some("UTF-8"),
            Some("utf8"),
            Some("us-ascii"),
            Some("identity"),
            Some("binary"),
        ] {
            assert_eq!(
                ContentEncoding::parse(text),
                Ok(ContentEncoding::Identity),
                "{text:?}"
            );
        }
        assert_eq!(
            ContentEncoding::parse(Some("GZIP")),
            Ok(ContentEncoding::Gzip)
        );
        assert_eq!(
            ContentEncoding::parse(Some("zstd")),
            Ok(ContentEncoding::Zstd)
        );
        for text in ["br", "deflate", "gzip, zstd", "latin1"] {
            assert!(ContentEncoding::parse(Some(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn inferq_accept_that_nobody_knows_is_no_wish() {
        assert_eq!(Encoding::accepted("application/json"), Some(Encoding::Json));
        assert_eq!(
            Encoding::accepted("application/x-msgpack"),
            Some(Encoding::MessagePack)
        );
        for text in ["", " ", "*/*", "image/png", "text/html"] {
            assert_eq!(Encoding::accepted(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_token_is_not_shown() {
        let fault = ContentType::parse(Some("se cret\n")).unwrap_err();
        assert!(!fault.rejection(false).detail.contains("secret"));
        assert!(!fault.rejection(false).detail.contains('\n'));
    }
}
