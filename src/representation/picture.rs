//! Untrusted PNG, JPEG and WebP bytes → 8-bit pixels, within limits.
//!
//! The size is read from the header and can be refused before anything is decoded. As Pillow does, 16-bit
//! channels keep their high byte, and EXIF orientation is ignored; unlike it, whatever is transparent is
//! composed onto a background.

use std::io::Cursor;

use image::{
    ColorType, ImageDecoder, ImageError, ImageFormat, ImageResult, Limits,
    codecs::{jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder},
};

use super::{
    jpeg,
    spec::{Background, Color},
};

/// Why bytes are no picture for us, in words for the requester.
pub(super) type Unreadable = &'static str;

/// 8-bit pixels, row-major, channels interleaved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pixels {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bytes: Vec<u8>,
}

/// A picture whose header has been read.
pub(super) struct Picture<'b> {
    decoder: Decoder<'b>,
    bytes: &'b [u8],
}

enum Decoder<'b> {
    Png(Box<PngDecoder<Cursor<&'b [u8]>>>),
    Jpeg(JpegDecoder<Cursor<&'b [u8]>>),
    WebP(WebPDecoder<Cursor<&'b [u8]>>),
}

impl<'b> Picture<'b> {
    /// Reads the header; what the decoder itself allocates is bounded by `max_pixels` of 16-bit RGBA.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "formats grow with the library"
    )]
    pub(super) fn open(bytes: &'b [u8], max_pixels: u64) -> Result<Self, Unreadable> {
        let format = image::guess_format(bytes)
            .map_err(|_| "expected a PNG, JPEG or WebP picture, found something else")?;
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(max_pixels.saturating_mul(8).saturating_add(1 << 20));
        let cursor = Cursor::new(bytes);
        let decoder = match format {
            ImageFormat::Png => {
                PngDecoder::with_limits(cursor, limits).map(|d| Decoder::Png(Box::new(d)))
            }
            ImageFormat::Jpeg => JpegDecoder::new(cursor).map(Decoder::Jpeg),
            ImageFormat::WebP => WebPDecoder::new(cursor).map(Decoder::WebP),
            _ => return Err("expected a PNG, JPEG or WebP picture, found another format"),
        };
        Ok(Picture {
            decoder: decoder.map_err(|error| reason(&error))?,
            bytes,
        })
    }

    /// Width and height in pixels, as the header has them.
    pub(super) fn size(&self) -> (u32, u32) {
        match &self.decoder {
            Decoder::Png(decoder) => decoder.dimensions(),
            Decoder::Jpeg(decoder) => decoder.dimensions(),
            Decoder::WebP(decoder) => decoder.dimensions(),
        }
    }

    /// Decodes it.
    pub(super) fn pixels(self, color: Color, background: Background) -> Result<Pixels, Unreadable> {
        let animated = match &self.decoder {
            Decoder::Png(decoder) => decoder.is_apng().unwrap_or(true),
            Decoder::Jpeg(_) => false,
            Decoder::WebP(decoder) => decoder.has_animation(),
        };
        if animated {
            return Err("the picture is animated: send one frame");
        }
        let (width, height) = self.size();
        let (kind, samples) = match self.decoder {
            Decoder::Png(decoder) => samples(*decoder),
            Decoder::Jpeg(decoder) => {
                let once = samples(decoder);
                if !once.as_ref().is_ok_and(|d| jpeg_is_whole(self.bytes, &d.1)) {
                    return Err(TRUNCATED);
                }
                once
            }
            Decoder::WebP(decoder) => samples(decoder),
        }
        .map_err(|error| reason(&error))?;
        let bytes = flatten(samples, kind, color, background)
            .ok_or("the picture has a pixel format that is not supported: save it as 8-bit RGB")?;
        Ok(Pixels {
            width,
            height,
            bytes,
        })
    }
}

const TRUNCATED: Unreadable = "the picture is truncated or corrupt: it could not be decoded";

fn reason(error: &ImageError) -> Unreadable {
    match error {
        ImageError::Limits(_) => "the picture is larger than this package takes",
        ImageError::Unsupported(_) => {
            "the picture uses a feature that is not supported: save it as plain 8-bit RGB"
        }
        ImageError::Decoding(_)
        | ImageError::Encoding(_)
        | ImageError::Parameter(_)
        | ImageError::IoError(_) => TRUNCATED,
    }
}

/// Whether the samples decoded from a JPEG are all its own: the decoder makes up what is missing.
fn jpeg_is_whole(bytes: &[u8], decoded: &[u8]) -> bool {
    let Some(other) = jpeg::with_other_end(bytes) else {
        return false;
    };
    let again = JpegDecoder::new(Cursor::new(&other)).and_then(samples);
    again.is_ok_and(|(_, again)| again == decoded)
}

fn samples(decoder: impl ImageDecoder) -> ImageResult<(ColorType, Vec<u8>)> {
    let kind = decoder.color_type();
    let mut samples = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX)];
    decoder.read_image(&mut samples)?;
    Ok((kind, samples))
}

/// Any samples → 8-bit grey or RGB; `None` for formats that our decoders do not give.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "formats grow with the library"
)]
fn flatten(
    samples: Vec<u8>,
    kind: ColorType,
    color: Color,
    background: Background,
) -> Option<Vec<u8>> {
    let channels = match kind {
        ColorType::L8 | ColorType::L16 => 1,
        ColorType::La8 | ColorType::La16 => 2,
        ColorType::Rgb8 | ColorType::Rgb16 => 3,
        ColorType::Rgba8 | ColorType::Rgba16 => 4,
        _ => return None,
    };
    let samples = if kind.bytes_per_pixel() == channels {
        samples
    } else {
        let (pairs, _) = samples.as_chunks();
        pairs
            .iter()
            .map(|pair| u16::from_ne_bytes(*pair).to_be_bytes())
            .map(|[high, _]| high)
            .collect()
    };
    if matches!((channels, color), (1, Color::Grey) | (3, Color::Rgb)) {
        return Some(samples);
    }
    let under = match background {
        Background::Black => 0,
        Background::White => 255,
    };
    let mut flat = Vec::with_capacity(samples.len());
    for pixel in samples.chunks_exact(channels.into()) {
        let rgb = match *pixel {
            [g] => [g; 3],
            [g, a] => [over(g, a, under); 3],
            [r, g, b] => [r, g, b],
            [r, g, b, a] => [over(r, a, under), over(g, a, under), over(b, a, under)],
            _ => return None,
        };
        match color {
            Color::Grey => flat.push(luma(rgb)),
            Color::Rgb => flat.extend(rgb),
        }
    }
    Some(flat)
}

/// `sample` with `alpha` over an opaque background, in the fixed-point arithmetic of Pillow's `alpha_composite`.
fn over(sample: u8, alpha: u8, under: u8) -> u8 {
    const BITS: u32 = 7;
    let front = u32::from(sample) * (u32::from(alpha) << BITS);
    let back = u32::from(under) * (u32::from(255 - alpha) << BITS);
    let sum = front + back + (0x80 << BITS);
    low_byte((((sum >> 8) + sum) >> 8) >> BITS)
}

/// ITU-R 601-2 luma in the fixed-point arithmetic of Pillow's `convert("L")`.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    low_byte((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16)
}

fn low_byte(n: u32) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}
