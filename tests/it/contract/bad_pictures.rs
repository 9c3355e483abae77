//! Pictures that are none, lie, or show nothing.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{
    case::Case,
    pictures::{animated_webp, animation, lying_jpeg, png, rows, webp},
    sample,
};

fn picture(name: &str, body: impl AsRef<[u8]>) -> Case {
    Case::body(name, "digits", body).with("content_type", "image/png")
}

fn embedded(name: &str, picture: impl Into<serde_json::Value>) -> Case {
    Case::object(name, "digits", json!({ "picture": picture.into() }))
}

pub(super) fn unrepresentable() -> Vec<Case> {
    let (whole, jpeg) = (sample("digits/5-enlarged.png"), sample("digits/7-jpeg.jpg"));
    let frame = webp(&whole);
    let huge = png(20_000, 20_000, 1, &vec![0; 20_000 * 2_501], &[]);
    let mut flipped = whole.clone();
    flipped[20] ^= 0xff;
    let cases = vec![
        picture("corrupt", sample("digits/bad-corrupt.png")),
        picture("one byte of a picture", b"\x89"),
        picture("a signature alone", b"\x89PNG\r\n\x1a\n"),
        picture("a checksum that is wrong", flipped),
        picture("a PNG cut in half", &whole[..whole.len() / 2]),
        picture("a JPEG cut in half", &jpeg[..jpeg.len() / 2]),
        picture("a WebP cut in half", &frame[..frame.len() / 2]),
        picture("20000 × 20000", &huge),
        picture(
            "20000 × 20000 by its header, 8 × 8 in truth",
            png(20_000, 20_000, 8, &rows(8, 8), &[]),
        ),
        picture(
            "16 × 16 by its header, 8 × 8 in truth",
            png(16, 16, 8, &rows(8, 8), &[]),
        ),
        picture("0 × 0", png(0, 0, 8, b"", &[])),
        picture("4 G × 4 G", png(u32::MAX, u32::MAX, 8, &rows(8, 8), &[])),
        picture(
            "2 G × 1",
            png(i32::MAX.cast_unsigned(), 1, 8, &rows(8, 8), &[]),
        ),
        picture(
            "a JPEG of 65535 × 65535 by its header",
            lying_jpeg(&jpeg, 65_535),
        ),
        picture(
            "a JPEG of 2000 × 2000 by its header",
            lying_jpeg(&jpeg, 2_000),
        ),
        picture(
            "an animated PNG",
            png(16, 16, 8, &rows(16, 16), &animation(16)),
        ),
        picture("an animated WebP", animated_webp(&frame)).with("content_type", "image/webp"),
        picture("a GIF called PNG", b"GIF89a\x08\0\x08\0\0\0\0;"),
        picture("a BMP called PNG", b"BM\x46\0\0\0\0\0\0\0"),
        picture("JSON called PNG", b"{}"),
        embedded("no base64", "not base64!"),
        embedded("base64 of no picture", BASE64_STANDARD.encode("hello")),
        embedded(
            "base64 of half a picture",
            BASE64_STANDARD.encode(&whole[..100]),
        ),
        embedded("bin of no picture", json!({ "$bytes": "AP8=" }))
            .with("content_type", "application/msgpack"),
    ];
    cases
        .into_iter()
        .map(|case| case.gets("unrepresentable"))
        .collect()
}

pub(super) fn refused_by_the_package() -> Vec<Case> {
    vec![
        picture("1 × 1", png(1, 1, 8, &rows(1, 1), &[])).gets("package:image_too_small"),
        picture("4 × 4", sample("digits/bad-4x4.png")).gets("package:image_too_small"),
        picture("7 × 4000", png(7, 4_000, 8, &rows(7, 4_000), &[])).gets("package:image_too_small"),
        picture("blank", sample("digits/bad-blank.png")).gets("package:blank_image"),
        picture(
            "all white",
            png(64, 64, 8, &[&[0][..], &[255; 64]].concat().repeat(64), &[]),
        )
        .gets("package:blank_image"),
        embedded(
            "blank in JSON",
            BASE64_STANDARD.encode(sample("digits/bad-blank.png")),
        )
        .gets("package:blank_image"),
    ]
}

/// Odd, but readable: answered.
pub(super) fn readable() -> Vec<Case> {
    let jpeg = sample("digits/7-jpeg.jpg");
    vec![
        picture("a JPEG called PNG", &jpeg).says("digit", 7),
        picture("a PNG called WebP", sample("digits/0-native.png"))
            .with("content_type", "image/webp")
            .says("digit", 0),
        picture(
            "something after a picture's end",
            [&jpeg[..], b"trailing"].concat(),
        )
        .says("digit", 7),
        picture(
            "4096 × 4096",
            png(4_096, 4_096, 8, &rows(4_096, 4_096), &[]),
        ),
    ]
}

pub(super) fn invalid() -> Vec<Case> {
    vec![
        embedded("an empty picture", "")
            .gets("invalid_request")
            .at("/picture"),
        embedded("a picture that is a number", 1)
            .gets("invalid_request")
            .at("/picture"),
        embedded("a picture of null", json!(null))
            .gets("invalid_request")
            .at("/picture"),
    ]
}
