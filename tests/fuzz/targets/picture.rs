//! Any bytes become a row of pixels or a rejection, within the memory that `max_pixels` allows.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use inferq::{message::object::Object, package::Package, tensor::Dtype};
use inferq_fuzz::{Folder, classifier, port};
use libfuzzer_sys::fuzz_target;

const RGB: &str = r#"
format = 1
name = "fraud"
version = "1.0.0"
description = "Looks at pictures."
owner = "nobody"

[input.image]
dtype = "float32"

[input.image.image]
width = 24
height = 16
color = "rgb"
background = "white"
resampler = "lanczos"
layout = "nchw"
max_pixels = 1048576

[outcome.verdict.class]
output = "probabilities"
labels = ["no", "yes"]
"#;

static PACKAGES: LazyLock<[Package; 2]> = LazyLock::new(|| {
    let grey = Folder::like("digits");
    let grey = grey.bind(&classifier(vec![port("image", Dtype::Float32, &[64])], 10));
    let rgb = Folder::like("fraud");
    rgb.write("package.toml", RGB.as_bytes());
    let rgb = rgb.bind(&classifier(
        vec![port("image", Dtype::Float32, &[3, 16, 24])],
        2,
    ));
    [grey.expect("a package"), rgb.expect("a package")]
});

fuzz_target!(|picture: &[u8]| {
    let picture = Object::Picture(Bytes::copy_from_slice(picture));
    for package in PACKAGES.iter() {
        match package.represent(&picture) {
            Ok(rows) => assert_eq!(rows.len(), 1),
            Err(rejection) => assert!(!rejection.detail.is_empty()),
        }
    }
});
