//! Decompression that stops at the limit: a bomb costs no more memory than an honest body.

use std::{borrow::Cow, io::Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;

use crate::message::{
    codec::{malformed, too_large},
    media::ContentEncoding,
    rejection::Rejection,
};

/// RFC 8878 §3.1.1.1.2 asks decoders for windows of at least 8 MiB; more is memory at the sender's will.
const MAX_WINDOW_LOG: u32 = 23;

/// Undoes `encoding`. Several gzip members or zstd frames in a row are one body, as their RFCs say;
/// anything else after the last one is refused.
pub(super) fn inflate(
    encoding: ContentEncoding,
    body: &Bytes,
    limit: usize,
) -> Result<Cow<'_, Bytes>, Rejection> {
    let inflated = match encoding {
        ContentEncoding::Identity => return Ok(Cow::Borrowed(body)),
        ContentEncoding::Gzip => bounded(MultiGzDecoder::new(body.as_ref()), limit).map_err(|end| {
            end.rejection(
                limit,
                "the body is not whole gzip data, as its content_encoding says; it is damaged, cut off, or has something after its end",
            )
        }),
        ContentEncoding::Zstd => unzstd(body, limit).map_err(|end| {
            end.rejection(
                limit,
                "the body is not whole zstd data, as its content_encoding says; it is damaged, cut off, has something after its end, or needs a window above 8 MiB",
            )
        }),
    };
    inflated.map(Cow::Owned)
}

/// Why there is no decompressed body.
enum End {
    OverLimit,
    Corrupt,
}

impl End {
    fn rejection(&self, limit: usize, corrupt: &str) -> Rejection {
        match self {
            End::OverLimit => too_large(
                &format!("the body has more than {limit} bytes once decompressed"),
                limit,
            ),
            End::Corrupt => malformed(corrupt),
        }
    }
}

fn unzstd(body: &[u8], limit: usize) -> Result<Bytes, End> {
    let mut decoder = Decoder::with_buffer(body).map_err(|_| End::Corrupt)?;
    decoder
        .window_log_max(MAX_WINDOW_LOG)
        .map_err(|_| End::Corrupt)?;
    bounded(decoder, limit)
}

fn bounded(from: impl Read, limit: usize) -> Result<Bytes, End> {
    let mut inflated = Vec::new();
    let mut from = from.take(limit as u64 + 1);
    from.read_to_end(&mut inflated).map_err(|_| End::Corrupt)?;
    if inflated.len() > limit {
        return Err(End::OverLimit);
    }
    Ok(inflated.into())
}
