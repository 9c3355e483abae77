//! Pictures, whole and otherwise, and bodies that grow.

use std::io::{Cursor, Write};

use flate2::{
    Compression, Crc,
    write::{GzEncoder, ZlibEncoder},
};
use image::ImageFormat;

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The same picture as WebP, without loss.
pub(super) fn webp(png: &[u8]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = image::load_from_memory(png).unwrap();
    picture
        .to_rgb8()
        .write_to(&mut bytes, ImageFormat::WebP)
        .unwrap();
    bytes.into_inner()
}

/// The same WebP as the only frame of an animation.
pub(super) fn animated_webp(webp: &[u8]) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let size = u32::try_from(data.len()).unwrap().to_le_bytes();
        [kind, &size[..], data].concat()
    };
    // a canvas of 32 × 32: sizes are one less, in 24 bits
    let size = [31, 0, 0, 31, 0, 0];
    let frame = [&[0; 6][..], &size, &[0; 4], &webp[12..]].concat();
    let chunks = [
        chunk(b"VP8X", &[&[0b10, 0, 0, 0][..], &size].concat()),
        chunk(b"ANIM", &[0; 6]),
        chunk(b"ANMF", &frame),
    ];
    chunk(b"RIFF", &[b"WEBP", &chunks.concat()[..]].concat())
}

fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(&kind);
    crc.update(data);
    let size = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&size[..], &kind, data, &crc.sum().to_be_bytes()].concat()
}

/// A grey PNG whose header says `width` × `height` at `depth` bits, around any rows (filter byte first).
pub(super) fn png(width: u32, height: u32, depth: u8, rows: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &[depth, 0, 0, 0, 0],
    ]
    .concat();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(*b"IHDR", &header),
        more.concat(),
        chunk(*b"IDAT", &zlib(rows)),
        chunk(*b"IEND", b""),
    ]
    .concat()
}

/// Rows of a picture with something on it.
pub(super) fn rows(width: usize, height: usize) -> Vec<u8> {
    let pixel = |at: usize| if 2 * at < width { 255 } else { 0 };
    let row = std::iter::once(0).chain((0..width).map(pixel));
    row.collect::<Vec<_>>().repeat(height)
}

/// The chunks that make a PNG of `side` × `side` an animation of two frames, of which it has one.
pub(super) fn animation(side: u32) -> Vec<Vec<u8>> {
    let frame = [
        &[0; 4][..],
        &side.to_be_bytes(),
        &side.to_be_bytes(),
        &[0; 8],
        &[0, 1, 0, 1, 0, 0],
    ]
    .concat();
    vec![
        chunk(*b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]),
        chunk(*b"fcTL", &frame),
    ]
}

/// The same JPEG with a header that says `side` × `side`.
pub(super) fn lying_jpeg(jpeg: &[u8], side: u16) -> Vec<u8> {
    let mut bytes = jpeg.to_vec();
    let at = bytes
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .unwrap();
    // marker, length, precision
    bytes[at + 5..at + 9].copy_from_slice(&[side.to_be_bytes(), side.to_be_bytes()].concat());
    bytes
}
