//! A body of any content type and encoding becomes an object or a rejection, and an object survives being written.

#![no_main]

use bytes::Bytes;
use inferq::message::{
    codec::{self, Limits},
    media::Encoding,
    object::Object,
};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;

const TYPES: [&str; 8] = [
    "application/json",
    "application/msgpack",
    "application/vnd.msgpack",
    "image/png",
    "image/jpeg",
    "image/webp",
    "text/plain",
    "Application/JSON; charset=utf-8",
];
const ENCODINGS: [&str; 5] = ["identity", "gzip", "zstd", "", "br"];

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

// The first two bytes say which content type and encoding; from 128 on the text is taken from what follows.
fuzz_target!(|data: &[u8]| -> Corpus {
    let [kind, encoding, body @ ..] = data else {
        return Corpus::Reject;
    };
    let mut body = body;
    let mut text = |choice: u8, known: &'static [&'static str]| {
        if choice < 128 {
            return Some(known[usize::from(choice) % known.len()].to_owned());
        }
        let (text, rest) = body.split_at(body.len().min(usize::from(choice - 128)));
        body = rest;
        String::from_utf8(text.to_vec()).ok()
    };
    let (kind, encoding) = (text(*kind, &TYPES), text(*encoding, &ENCODINGS));
    let limits = Limits {
        request_bytes: 1 << 16,
        accepts_pictures: body.len() % 2 == 0,
        depth: 64,
    };
    let body = Bytes::copy_from_slice(body);
    match codec::decode(kind.as_deref(), encoding.as_deref(), &body, &limits) {
        Ok((Object::Value(document), _)) => {
            let value = document.root().to_value();
            assert!(depth(&value) <= limits.depth);
            for (encoding, kind) in [
                (Encoding::Json, "application/json"),
                (Encoding::MessagePack, "application/msgpack"),
            ] {
                let written = Bytes::from(codec::encode(&value, encoding).expect("what was read"));
                let roomy = Limits {
                    request_bytes: usize::MAX,
                    ..limits
                };
                let again = codec::decode(Some(kind), None, &written, &roomy);
                assert_eq!(
                    again.expect("what was written").0,
                    Object::from(value.clone())
                );
            }
        }
        Ok((Object::Picture(bytes), _)) => assert!(bytes.len() <= limits.request_bytes),
        Err(rejection) => assert!(!rejection.detail.is_empty()),
    }
    Corpus::Keep
});
