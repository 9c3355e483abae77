use std::io::Cursor;

use image::{ImageFormat, RgbImage};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{columns, compile, floats, represent};
use crate::{message::object::Object, tensor::Dtype};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c]{0,2}|2024-0[1-9]-01T1[0-9]:00:00Z|10\\.0\\.[0-9]\\.1|::[0-9a-f]{1,4}"
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-e]|items", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const EVERYTHING: &str = "
    [input.x]
    columns = [
      { pointer = '/a' },
      { pointer = '/b', transform = 'log1p', on_missing = 'default', default = 0 },
      { pointer = '/c', transform = 'hour' },
      { pointer = '/d', transform = 'weekday', on_missing = 'default', default = 6 },
      { pointer = '/a', transform = { same_as = { other = '/b' } } },
      { pointer = '/d', transform = { same_network = { other = '/e', prefix = 33 } } },
      { pointer = '/e', categories = ['a', 'b', 1], encode = 'one_hot', unknown = 'zero' },
      { pointer = '/0', categories = ['a', 'b', 1] },
    ]
    [input.s]
    columns = [{ pointer = '/a', on_missing = 'default', default = '' }]
    [input.i.image]
    pointer = '/b'
    width = 2
    height = 2
    color = 'rgb'
    layout = 'flat'
    ";

proptest! {
    #[test]
    fn representing_never_panics(request in any_json(), each in any::<bool>(), dtype in 0..6_usize) {
        let dtype = [Dtype::Float32, Dtype::Float64, Dtype::Int32, Dtype::Int64, Dtype::Uint8, Dtype::Bool][dtype];
        let inputs: [(&str, Dtype, &[usize]); 3] =
            [("x", dtype, &[10]), ("s", Dtype::String, &[1]), ("i", Dtype::Uint8, &[12])];
        let manifest = if each { format!("each = '/items'\n{EVERYTHING}") } else { EVERYTHING.into() };
        if let Ok(plan) = compile(&manifest, &inputs) {
            let _ = represent(&plan, request);
        }
    }

    #[test]
    fn pictures_of_any_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic in 0..4_usize) {
        let magic: &[u8] = [&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], b"\xff\xd8\xff\xe0", b"RIFF\0\x01\0\0WEBPVP8X", b""][magic];
        bytes.splice(0..0, magic.iter().copied());
        let manifest = "[input.x.image]\nwidth = 2\nheight = 2\ncolor = 'grey'";
        let plan = compile(manifest, &[("x", Dtype::Float32, &[2, 2])]).unwrap();
        let _ = plan.represent(&Object::Picture(bytes.into()));
    }

    #[test]
    fn damaged_pictures_never_panic(format in 0..3_usize, damage in prop::collection::vec((any::<u16>(), any::<u8>()), 1..6)) {
        let format = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP][format];
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_fn(17, 9, |x, y| image::Rgb([x, y, x * y].map(|n| n.to_le_bytes()[0])))
            .write_to(&mut bytes, format)
            .unwrap();
        let mut bytes = bytes.into_inner();
        for (at, with) in damage {
            let at = usize::from(at) % bytes.len();
            bytes[at] = with;
        }
        let manifest = "[input.x.image]\nwidth = 2\nheight = 2\ncolor = 'grey'\nmax_pixels = 1000000";
        let plan = compile(manifest, &[("x", Dtype::Float32, &[2, 2])]).unwrap();
        let _ = plan.represent(&Object::Picture(bytes.into()));
    }

    #[test]
    fn one_hot_sums_to_one_or_none(value in any_json()) {
        let plan = columns(
            "{ pointer = '/v', categories = ['a', 'b', 1, 'c'], encode = 'one_hot', unknown = 'zero' }",
            Dtype::Float32,
            4,
        );
        if let Ok(rows) = represent(&plan, json!({ "v": value })) {
            let row = floats(&rows[0]);
            prop_assert!(row.iter().all(|x| [0.0, 1.0].contains(x)));
            prop_assert!(row.iter().sum::<f32>() <= 1.0);
        }
    }
}
