//! A manifest is taken or its faults are named; one that is taken makes rows of requests, or says why not.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use inferq::{
    message::object::Object,
    tensor::{Dtype, Signature},
};
use inferq_fuzz::{Folder, classifier, port, request, sample};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::like("fraud"));

/// Signatures, each for manifests that hold a word.
static SIGNATURES: LazyLock<[(&str, Signature); 4]> = LazyLock::new(|| {
    let features = |width| port("features", Dtype::Float32, &[width]);
    let words = port("words", Dtype::String, &[2]);
    let ids = port("ids", Dtype::Int64, &[2]);
    let picture = |dtype, shape| classifier(vec![port("image", dtype, shape)], 10);
    [
        ("words", classifier(vec![features(3), words, ids], 2)),
        ("uint8", picture(Dtype::Uint8, &[3, 8, 8])),
        ("image", picture(Dtype::Float32, &[64])),
        ("", classifier(vec![features(13)], 2)),
    ]
});

static OBJECTS: LazyLock<[Object; 2]> = LazyLock::new(|| {
    let picture = std::fs::read(sample("digits").join("golden/native-0.png"));
    [
        Object::from(request("fraud", "suspicious.json")),
        Object::Picture(Bytes::from(picture.expect("a golden picture"))),
    ]
});

fuzz_target!(|manifest: &[u8]| {
    FOLDER.write("package.toml", manifest);
    let holds = |word: &str| {
        word.is_empty()
            || manifest
                .windows(word.len())
                .any(|part| part == word.as_bytes())
    };
    let (_, signature) = SIGNATURES
        .iter()
        .find(|(word, _)| holds(word))
        .expect("the last");
    match FOLDER.bind(signature) {
        Ok(package) => {
            for object in OBJECTS.iter() {
                let _ = package.validate(object);
                if let Ok((rows, _)) = package.prepare(object) {
                    assert!(rows.len() <= package.limits().max_rows);
                }
            }
        }
        Err(faults) => assert!(!faults.is_empty(), "no package and no fault"),
    }
});
