use std::io::Cursor;

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use serde_json::json;

use super::{compile, errors, floats, one, represent};
use crate::{
    message::{
        object::Object,
        rejection::{Code, Rejection},
    },
    representation::Plan,
    tensor::{Dtype, Row},
};

const APNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAACGFjVEwAAAACAAAAAPONk3AAAAAaZmNUTAAAAAAAAAAIAAAACAAAAAAAAAAAAAEACgAA8k66YgAAABJJREFUeJxj/M+AHTDhEB+kEgDNQQEP6EHibwAAABpmY1RMAAAAAQAAAAgAAAAIAAAAAAAAAAAAAQAKAABpPVC2AAAAGGZkQVQAAAACeJxjZGD4z4ANMGEVHbQSAMtDAQ+LnnysAAAAAElFTkSuQmCC";
const ANIMATED_WEBP: &str = "UklGRoQAAABXRUJQVlA4WAoAAAACAAAABwAABwAAQU5JTQYAAAAAAAAAAABBTk1GKAAAAAAAAAAAAAcAAAcAAGQAAAJWUDhMDwAAAC8HwAEABxD9j/4HIqL/AQBBTk1GKAAAAAAAAAAAAAcAAAcAAGQAAABWUDhMDwAAAC8HwAEABxDR//4HIqL/AQA=";
const GIF: &str = "R0lGODdhCAAIAIEAAP8AAAAAAAAAAAAAACwAAAAACAAIAAAIDwABCBxIsKDBgwgTKkwYEAA7";

/// The 9×7 picture that the golden pixels below were made from, with Pillow 10 and 13.
fn sample(x: u32, y: u32) -> [u8; 3] {
    [0, 91, 182].map(|shift| u8::try_from((x * 37 + y * 53 + shift + x * y * 11) % 256).unwrap())
}

fn rgb() -> DynamicImage {
    RgbImage::from_fn(9, 7, |x, y| image::Rgb(sample(x, y))).into()
}

fn file(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(picture: &DynamicImage) -> Vec<u8> {
    file(picture, ImageFormat::Png)
}

/// A plan for one uint8 picture, so that rows are pixels.
fn plan(width: usize, height: usize, channels: usize, lines: &str) -> Plan {
    let color = if channels == 1 { "grey" } else { "rgb" };
    let manifest = format!(
        "[input.x.image]\nwidth = {width}\nheight = {height}\ncolor = '{color}'\nlayout = 'nhwc'\n{lines}"
    );
    compile(
        &manifest,
        &[("x", Dtype::Uint8, &[height, width, channels])],
    )
    .unwrap()
}

fn score(plan: &Plan, file: Vec<u8>) -> Result<Row, Rejection> {
    let rows = plan.represent(&Object::Picture(file.into()));
    rows.map(|mut rows| rows.remove(0))
}

fn pixels(plan: &Plan, file: Vec<u8>) -> Vec<u8> {
    score(plan, file).unwrap().bytes
}

fn why(plan: &Plan, file: Vec<u8>) -> String {
    let rejection = score(plan, file).unwrap_err();
    assert_eq!(rejection.code, Code::Unrepresentable);
    rejection.detail
}

#[test]
fn a_picture_of_the_right_size_keeps_its_pixels() {
    let expected: Vec<u8> = rgb().to_rgb8().into_raw();
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        assert_eq!(pixels(&plan(9, 7, 3, ""), file(&rgb(), format)), expected);
    }
}

#[test]
fn grey_is_pillow_s_luma() {
    let row = pixels(&plan(9, 7, 1, ""), png(&rgb()));
    assert_eq!(row[..9], [74, 111, 119, 156, 193, 80, 117, 77, 114]);
}

#[test]
fn resizing_is_pillow_s_within_one_step() {
    for (resampler, golden) in [
        (
            "nearest",
            [146, 92, 111, 178, 124, 158, 148, 182, 146, 103, 108, 186],
        ),
        (
            "bilinear",
            [122, 135, 126, 114, 131, 121, 130, 126, 106, 118, 119, 127],
        ),
        (
            "bicubic",
            [120, 138, 127, 112, 133, 117, 131, 125, 105, 119, 118, 128],
        ),
        (
            "lanczos",
            [118, 140, 128, 110, 136, 115, 132, 126, 103, 121, 116, 127],
        ),
    ] {
        let found = pixels(
            &plan(4, 3, 1, &format!("resampler = '{resampler}'")),
            png(&rgb()),
        );
        let near = found.iter().zip(golden).all(|(a, b)| a.abs_diff(b) <= 1);
        assert!(near, "{resampler}: {found:?} for {golden:?}");
    }
    let found = pixels(&plan(2, 2, 3, ""), png(&rgb()));
    let golden = [124, 133, 116, 123, 123, 128, 117, 116, 131, 122, 122, 134];
    let near = found
        .iter()
        .zip(golden)
        .all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 1);
    assert!(near, "{found:?}");
}

#[test]
fn transparency_shows_the_background_as_in_pillow() {
    let picture = RgbaImage::from_fn(9, 7, |x, y| {
        let [r, g, b] = sample(x, y);
        image::Rgba([r, g, b, u8::try_from((x * 31 + y * 17) % 256).unwrap()])
    });
    let file = png(&picture.into());
    let white = pixels(&plan(9, 7, 3, ""), file.clone());
    assert_eq!(
        white[27..54],
        [
            242, 248, 254, 226, 243, 212, 222, 250, 199, 230, 159, 198, 249, 158, 209, 108, 169,
            231, 120, 192, 61, 143, 227, 75, 252, 247, 250
        ]
    );
    let black = pixels(&plan(9, 7, 3, "background = 'black'"), file);
    assert_eq!(
        black[27..54],
        [
            4, 10, 16, 19, 36, 5, 46, 74, 23, 85, 14, 53, 135, 44, 95, 25, 86, 148, 68, 140, 9,
            122, 206, 54, 6, 1, 4
        ]
    );
}

#[test]
fn of_sixteen_bits_the_high_byte_is_kept() {
    let picture = image::ImageBuffer::<image::Luma<u16>, _>::from_fn(2, 1, |x, _| {
        image::Luma([[0x12FF, 0xFEFF][x as usize]])
    });
    assert_eq!(
        pixels(&plan(2, 1, 1, ""), png(&picture.into())),
        [0x12, 0xFE]
    );
}

#[test]
fn values_and_axes_are_the_model_s() {
    let picture = png(&RgbImage::from_raw(2, 1, vec![0, 51, 102, 255, 204, 153])
        .unwrap()
        .into());
    let manifest = |layout| {
        format!(
            "[input.x.image]\nwidth = 2\nheight = 1\ncolor = 'rgb'\nscale = 0.00392156862745098\nmean = [0.0, 0.2, 0.4]\nstd = [1.0, 0.5, 2.0]\nlayout = '{layout}'"
        )
    };
    let nchw = [0.0, 1.0, 0.0, 1.2, 0.0, 0.1];
    let nhwc = [0.0, 0.0, 0.0, 1.0, 1.2, 0.1];
    for (layout, shape, expected) in [
        ("nchw", &[3, 1, 2][..], nchw),
        ("nhwc", &[1, 2, 3], nhwc),
        ("flat", &[6], nhwc),
    ] {
        let plan = compile(&manifest(layout), &[("x", Dtype::Float32, shape)]).unwrap();
        let found = floats(&score(&plan, picture.clone()).unwrap());
        let near = found
            .iter()
            .zip(expected)
            .all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6);
        assert!(near, "{layout}: {found:?}");
    }
}

#[test]
fn a_picture_stands_in_json_as_strict_base64() {
    let plan = plan(9, 7, 3, "pointer = '/picture'");
    assert!(plan.accepts_pictures() && plan.is_heavy());
    let text = STANDARD.encode(png(&rgb()));
    let expected: Vec<u8> = rgb().to_rgb8().into_raw();
    assert_eq!(one(&plan, json!({ "picture": text })).bytes, expected);
    for (value, fault) in [
        (
            json!(null),
            "expected a picture as base64 text, found nothing",
        ),
        (
            json!([1]),
            "expected a picture as base64 text, found an array",
        ),
        (
            json!(format!("data:image/png;base64,{text}")),
            "found a data URL",
        ),
        (
            json!(format!("{text}\n")),
            "expected base64 text in the standard alphabet",
        ),
        (
            json!("_-8="),
            "expected base64 text in the standard alphabet",
        ),
        (
            json!(""),
            "expected a PNG, JPEG or WebP picture, found something else",
        ),
    ] {
        let rejection = represent(&plan, json!({ "picture": value })).unwrap_err();
        let found = errors(&rejection).join("; ");
        assert!(
            found.starts_with("/picture: ") && found.contains(fault),
            "{found}"
        );
    }
}

#[test]
fn a_package_of_raw_pictures_says_so_to_json() {
    let rejection = represent(&plan(9, 7, 3, ""), json!({})).unwrap_err();
    assert!(
        rejection.detail.contains("as the message's body"),
        "{rejection}"
    );
}

#[test]
fn whole_jpegs_are_read_and_truncated_ones_are_not() {
    let plan = plan(9, 7, 1, "");
    let jpeg = file(&rgb().to_luma8().into(), ImageFormat::Jpeg);
    let found = pixels(&plan, jpeg.clone());
    let near = found
        .iter()
        .zip(rgb().to_luma8().into_raw())
        .filter(|(a, b)| a.abs_diff(*b) < 32)
        .count();
    assert!(near > 50, "{found:?}");
    for cut in 1..jpeg.len() {
        assert!(score(&plan, jpeg[..cut].to_vec()).is_err(), "{cut}");
    }
}

/// Cut anywhere and given an end again, it is refused, unless nothing but padding is gone.
#[test]
fn jpegs_whose_data_ends_early_are_not_read_though_they_have_an_end() {
    let plan = plan(9, 7, 3, "");
    let jpeg = file(&rgb(), ImageFormat::Jpeg);
    let found = pixels(&plan, jpeg.clone());
    let scan = jpeg.windows(2).position(|m| m == [0xFF, 0xDA]).unwrap() + 14;
    for cut in scan..jpeg.len() - 2 {
        let short = [&jpeg[..cut], &[0xFF, 0xD9]].concat();
        if let Ok(row) = score(&plan, short) {
            assert_eq!(
                (row.bytes.as_slice(), cut),
                (found.as_slice(), jpeg.len() - 3)
            );
        }
    }
    let size = jpeg.windows(2).position(|m| m == [0xFF, 0xC0]).unwrap() + 5;
    let mut tall = jpeg;
    tall[size] = 4;
    assert!(
        score(&plan, tall).is_err(),
        "a header of 1031 lines with the data of 7"
    );
}

#[test]
fn truncated_pngs_and_webps_are_not_read() {
    let plan = plan(9, 7, 3, "");
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let whole = file(&rgb(), format);
        // After its pixels a PNG may miss its end: nothing is lost.
        let most = if format == ImageFormat::Png { 24 } else { 1 };
        for cut in 1..whole.len() - most {
            assert!(
                score(&plan, whole[..cut].to_vec()).is_err(),
                "{format:?} {cut}"
            );
        }
    }
}

#[test]
fn animations_and_other_formats_are_refused() {
    let plan = plan(8, 8, 3, "");
    for animation in [APNG, ANIMATED_WEBP] {
        let detail = why(&plan, STANDARD.decode(animation).unwrap());
        assert_eq!(detail, "the picture is animated: send one frame");
    }
    assert_eq!(
        why(&plan, STANDARD.decode(GIF).unwrap()),
        "expected a PNG, JPEG or WebP picture, found another format"
    );
    assert_eq!(
        why(&plan, b"hello".to_vec()),
        "expected a PNG, JPEG or WebP picture, found something else"
    );
}

/// A PNG whose header claims another size.
fn lying(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(&rgb());
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

#[test]
fn huge_pictures_are_refused_by_their_header() {
    let plan = plan(8, 8, 3, "");
    assert_eq!(
        why(&plan, lying(20_000, 20_000)),
        "expected a picture of at most 16777216 pixels, found 20000×20000: send a smaller one"
    );
    for (width, height) in [
        (u32::MAX >> 1, 1),
        (1, u32::MAX >> 1),
        (0, 8),
        (4_000_000_000, 2),
    ] {
        assert!(score(&plan, lying(width, height)).is_err());
    }
    assert!(why(&plan, lying(4_000, 4_000)).contains("truncated or corrupt"));
}

#[test]
fn pictures_far_longer_than_wide_are_refused_by_their_header() {
    let plan = plan(512, 8, 3, "");
    for (width, height) in [(65_536, 4), (4, 65_536), (4, 40_000)] {
        let detail = why(&plan, lying(width, height));
        assert!(detail.contains("sides are not so unlike"), "{detail}");
    }
}

#[test]
fn small_and_blank_pictures_get_the_package_s_own_codes() {
    let manifest = "
        [input.x.image]
        pointer = '/p'
        width = 8
        height = 8
        color = 'grey'
        too_small = { width = 8, height = 8, code = 'image_too_small' }
        blank = { spread = 8, code = 'blank_image' }
        [rejection.image_too_small]
        title = 'The picture is smaller than 8×8'
        [rejection.blank_image]
        title = 'The picture is blank'
        retryable = true
        ";
    let plan = compile(manifest, &[("x", Dtype::Uint8, &[1, 8, 8])]).unwrap();
    assert_eq!(
        plan.codes().into_iter().collect::<Vec<_>>(),
        ["blank_image", "image_too_small"]
    );
    let small = score(&plan, png(&RgbImage::new(1, 1).into())).unwrap_err();
    assert_eq!(small.code.as_str(), "package:image_too_small");
    assert_eq!(small.detail, "The picture is smaller than 8×8");
    assert!(!small.code.retryable() && small.errors.is_empty());
    let flat = png(&RgbImage::from_pixel(20, 20, image::Rgb([200; 3])).into());
    let blank = represent(&plan, json!({ "p": STANDARD.encode(&flat) })).unwrap_err();
    assert_eq!(blank.code.as_str(), "package:blank_image");
    assert!(blank.code.retryable());
    assert_eq!(errors(&blank), ["/p: The picture is blank"]);
    assert!(
        score(
            &plan,
            png(&rgb().resize_exact(20, 20, image::imageops::Nearest))
        )
        .is_ok()
    );
}
