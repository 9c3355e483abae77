//! What each bad body gets, and what is taken.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use super::*;
use crate::message::rejection::Located;

pub(super) const MSGPACK: Option<&str> = Some("application/msgpack");

pub(super) fn read(content_type: Option<&str>, body: &[u8]) -> Result<Value, Rejection> {
    let body = Bytes::copy_from_slice(body);
    match decode(content_type, None, &body, &Limits::default())? {
        (Object::Value(document), _) => Ok(document.root().to_value()),
        (Object::Picture(_), _) => panic!("no picture was sent"),
    }
}

pub(super) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).unwrap()
}

fn inflated(encoding: &str, body: Vec<u8>, limit: usize) -> Result<Value, Rejection> {
    let limits = Limits {
        request_bytes: limit,
        ..Limits::default()
    };
    match decode(None, Some(encoding), &body.into(), &limits)? {
        (Object::Value(document), _) => Ok(document.root().to_value()),
        (Object::Picture(_), _) => panic!("no picture was sent"),
    }
}

#[test]
fn bad_json_is_malformed_and_the_place_is_told() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b" ", "line 1 column 1"),
        (b"{", "cut off"),
        (b"x", "line 1 column 1"),
        (b"{\"a\": 1", "cut off"),
        (b"{\"a\": \"secret", "cut off"),
        (b"[1 2]", "expected `,` or `]` at line 1 column 4"),
        (b"{\"a\": 1}}", "trailing characters"),
        (b"{\"a\": 1} {\"a\": 2}", "trailing characters"),
        (b"{'a': 1}", "line 1 column 2"),
        (b"{\"a\": NaN}", "no NaN"),
        (b"{\"a\": Infinity}", "no NaN"),
        (b"{\"a\": -Infinity}", "no NaN"),
        (b"{\n\"a\": NaN}", "no NaN"),
        (b"1e400", "out of range"),
        (b"{\"a\": -1e400}", "out of range"),
        (b"01", "line 1 column 2"),
        (b"\"\\ud800\"", "hex escape"),
        (b"\"a\nb\"", "control character"),
        (b"{\"a\": \"\xff\"}", "byte 7 is not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "byte 0 is not UTF-8"),
        (b"\x1f\x8b\x08", "looks like gzip"),
        (b"\x89PNG\r\n", "image/png"),
        (b"\x80\x04\x95\x00", "pickle"),
        (b"{\"a\": 1, \"a\": 2}", "twice"),
        (b"{\"a\": 1, \"\\u0061\": 2}", "twice"),
    ];
    for (body, said) in cases {
        let no = read(None, body).unwrap_err();
        assert_eq!(
            (no.code, no.stage),
            (Code::MalformedMessage, Stage::Decode),
            "{body:?}"
        );
        assert!(no.detail.contains(said), "{body:?}: {}", no.detail);
        assert!(!no.detail.contains("secret"), "{}", no.detail);
    }
}

#[test]
fn bad_msgpack_is_malformed_and_the_place_is_told() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b"\xc1", "reserved marker 0xc1 stands at byte 0"),
        (b"\x81", "cut off"),
        (b"\x81\xa1a", "cut off?) at byte 3"),
        (b"\xa5secr", "cut off?) at byte 1"),
        (b"\xdb\xff\xff\xff\xff", "cut off"),
        (b"\xc6\xff\xff\xff\xffx", "cut off"),
        (b"\xdd\xff\xff\xff\xff", "cut off"),
        (b"\xdf\xff\xff\xff\xff", "cut off"),
        (b"\x01\x02", "something follows the value at byte 1"),
        (b"\xa2\xc3\x28", "not UTF-8 (send binary as bin) at byte 1"),
        (b"\xa2a\xff", "not UTF-8 (send binary as bin) at byte 2"),
        (b"\x81\xa1\xff\x01", "not UTF-8"),
        (b"\x81\x01\x02", "a key is not text at byte 1"),
        (b"\x81\xc4\x01a\x02", "a key is not text at byte 1"),
        (b"\x81\xc0\x02", "a key is not text"),
        (b"\x82\xa1a\x01\xa1a\x02", "twice"),
        (b"\xd6\xff\x00\x00\x00\x00", "extension type"),
        (b"\xc7\x00\x05", "extension type"),
        (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "not finite"),
        (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "not finite"),
        (b"\xca\x7f\x80\x00\x00", "not finite"),
        (b"{\"a\": 1}", "something follows the value at byte 1"),
    ];
    for (body, said) in cases {
        let no = read(MSGPACK, body).unwrap_err();
        assert_eq!(
            (no.code, no.stage),
            (Code::MalformedMessage, Stage::Decode),
            "{body:?}"
        );
        assert!(no.detail.contains(said), "{body:?}: {}", no.detail);
    }
}

#[test]
fn the_pointer_leads_to_the_fault_in_either_format() {
    let pointer = |content_type, body: &[u8]| {
        let no = read(content_type, body).unwrap_err();
        no.errors
            .first()
            .map(|Located { pointer, .. }| pointer.clone())
    };
    for (json, msgpack, expected) in [
        (
            &b"{\"a\":[0,{\"b\":1,\"b\":2}]}"[..],
            &b"\x81\xa1a\x92\x00\x82\xa1b\x01\xa1b\x02"[..],
            Some("/a/1/b"),
        ),
        (
            b"{\"a/b\":{\"~\":x}}",
            b"\x81\xa3a/b\x81\xa1~\xc1",
            Some("/a~1b/~0"),
        ),
        (b"{\"\":tru}", b"\x81\xa0\xc1", Some("/")),
        (b"[[[", b"\x91\x91\x91", Some("/0/0/0")),
        (b"x", b"\xc1", None),
    ] {
        // JSON's last "[" is an array that ends before its first element.
        assert_eq!(pointer(MSGPACK, msgpack).as_deref(), expected);
        assert_eq!(pointer(None, json).as_deref(), expected);
    }
}

#[test]
fn a_pointer_is_never_longer_than_it_is_useful() {
    let key = "k".repeat(10_000);
    let no = read(None, format!("{{\"a\":{{\"{key}\":x}}}}").as_bytes()).unwrap_err();
    assert_eq!(no.errors[0].pointer, "/a");
}

#[test]
fn nesting_is_bounded_and_never_overflows_the_stack() {
    let nested = |open: &[u8], inner: &[u8], close: &[u8], n| {
        [open.repeat(n), inner.to_vec(), close.repeat(n)].concat()
    };
    assert!(read(None, &nested(b"[", b"", b"]", 64)).is_ok());
    assert!(read(None, &nested(b"{\"a\":", b"1", b"}", 64)).is_ok());
    assert!(read(MSGPACK, &nested(b"\x91", b"\x01", b"", 64)).is_ok());
    assert!(read(MSGPACK, &nested(b"\x81\xa1a", b"\x01", b"", 64)).is_ok());
    for (content_type, body) in [
        (None, nested(b"[", b"", b"]", 65)),
        (None, nested(b"[", b"", b"", 100_000)),
        (None, nested(b"{\"a\":", b"1", b"}", 100_000)),
        (MSGPACK, nested(b"\x91", b"\x01", b"", 65)),
        (MSGPACK, nested(b"\x91", b"\x01", b"", 100_000)),
        (MSGPACK, nested(b"\x81\xa1a", b"\x01", b"", 100_000)),
        (
            MSGPACK,
            nested(b"\xdd\xff\xff\xff\xff", b"\x01", b"", 100_000),
        ),
    ] {
        let no = read(content_type, &body).unwrap_err();
        assert_eq!(no.code, Code::MalformedMessage);
        assert!(no.detail.contains("more than 64 deep"), "{}", no.detail);
    }
}

#[test]
fn a_deeper_limit_than_serde_json_allows_is_still_a_clean_no() {
    let limits = Limits {
        depth: 100_000,
        ..Limits::default()
    };
    let body = Bytes::from("[".repeat(100_000));
    let no = decode(None, None, &body, &limits).unwrap_err();
    assert_eq!(no.code, Code::MalformedMessage);
}

#[test]
fn numbers_are_kept_exact() {
    let body = format!("[0,-0.0,{},{},1.5,5e-324,1e308,0.1]", u64::MAX, i64::MIN);
    let value = read(None, body.as_bytes()).unwrap();
    assert_eq!(
        value,
        json!([0, -0.0, u64::MAX, i64::MIN, 1.5, 5e-324, 1e308, 0.1])
    );
    let packed = encode(&value, Encoding::MessagePack).unwrap();
    assert_eq!(read(MSGPACK, &packed).unwrap(), value);
    // Every width of MessagePack's integers.
    for (body, expected) in [
        (&b"\xcc\xff"[..], json!(255)),
        (b"\xcd\x01\x00", json!(256)),
        (b"\xce\x00\x01\x00\x00", json!(65536)),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", json!(u64::MAX)),
        (b"\xd0\x80", json!(-128)),
        (b"\xd1\x80\x00", json!(-32768)),
        (b"\xd2\x80\x00\x00\x00", json!(i32::MIN)),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", json!(i64::MIN)),
        (b"\xff", json!(-1)),
        (b"\xe0", json!(-32)),
        (b"\xca\x3f\x00\x00\x00", json!(0.5)),
    ] {
        assert_eq!(read(MSGPACK, body).unwrap(), expected);
    }
}

#[test]
fn binary_becomes_base64_text() {
    assert_eq!(
        read(MSGPACK, b"\x81\xa1p\xc4\x04\xff\xfe\x00\x01").unwrap(),
        json!({"p": "//4AAQ=="})
    );
    assert_eq!(read(MSGPACK, b"\xc5\x00\x00").unwrap(), json!(""));
    assert_eq!(
        read(MSGPACK, b"\xc6\x00\x00\x00\x01a").unwrap(),
        json!("YQ==")
    );
}

#[test]
fn what_is_harmless_in_json_is_taken() {
    assert_eq!(read(None, b"\xef\xbb\xbf{}").unwrap(), json!({}));
    assert_eq!(
        read(None, b" \r\n\t{\"a\": null}\n").unwrap(),
        json!({"a": null})
    );
    assert_eq!(read(None, b"\"12\"").unwrap(), json!("12"));
    assert_eq!(
        read(None, b"{\"\": {\"\": 1}}").unwrap(),
        json!({"": {"": 1}})
    );
}

#[test]
fn the_size_is_looked_at_first() {
    let limits = Limits {
        request_bytes: 64 << 10,
        ..Limits::default()
    };
    let body = Bytes::from(vec![b'['; 10_000_000]);
    let no = decode(Some("nonsense"), Some("nonsense"), &body, &limits).unwrap_err();
    assert_eq!(no.code, Code::RequestTooLarge);
    assert!(no.detail.contains("10000000") && no.detail.contains("65536"));
}

#[test]
fn compressed_bodies_are_taken() {
    let body = br#"{"a": 1}"#;
    let split = |f: fn(&[u8]) -> Vec<u8>| [f(b"{\"a\""), f(b""), f(b": 1}")].concat();
    for (encoding, bytes) in [
        ("gzip", gzip(body)),
        ("GZIP", gzip(body)),
        ("zstd", zstd(body)),
        ("gzip", split(gzip)),
        ("zstd", split(zstd)),
    ] {
        assert_eq!(inflated(encoding, bytes, 100).unwrap(), json!({"a": 1}));
    }
    assert_eq!(
        inflated("gzip", gzip(body), 8),
        Err(too_large("the body has 28 bytes", 8))
    );
}

#[test]
fn a_bomb_is_too_large_and_not_inflated() {
    let zeros = vec![b' '; 64 << 20];
    let bombs = [
        ("gzip", gzip(&zeros)),
        ("zstd", zstd(&zeros)),
        ("gzip", gzip(&zeros[..1025])),
        ("zstd", zstd(&zeros[..1025])),
    ];
    for (encoding, bomb) in bombs {
        let limit = if bomb.len() > 1024 { 1 << 20 } else { 1024 };
        let no = inflated(encoding, bomb, limit).unwrap_err();
        assert_eq!(no.code, Code::RequestTooLarge, "{encoding}: {no}");
        assert!(no.detail.contains(&format!("more than {limit} bytes")));
    }
    let exact = [&zeros[..1023], b"1"].concat();
    assert_eq!(inflated("gzip", gzip(&exact), 1024).unwrap(), json!(1));
    assert_eq!(inflated("zstd", zstd(&exact), 1024).unwrap(), json!(1));
}

#[test]
fn damaged_compression_is_malformed() {
    for (encoding, whole) in [("gzip", gzip(b"{\"a\": 1}")), ("zstd", zstd(b"{\"a\": 1}"))] {
        for cut in 1..whole.len() {
            let no = inflated(encoding, whole[..cut].to_vec(), 1000).unwrap_err();
            assert_eq!(no.code, Code::MalformedMessage, "{encoding} cut at {cut}");
        }
        for trailing in [&b"x"[..], b"\0", b"trailing"] {
            let body = [&whole, trailing].concat();
            let no = inflated(encoding, body, 1000).unwrap_err();
            assert_eq!(no.code, Code::MalformedMessage, "{encoding} {trailing:?}");
        }
        for body in [&b"{\"a\": 1}"[..], b"\x00", &[0xff; 40]] {
            let no = inflated(encoding, body.to_vec(), 1000).unwrap_err();
            assert_eq!(no.code, Code::MalformedMessage);
            assert!(no.detail.contains(encoding), "{}", no.detail);
        }
        let mut flipped = whole.clone();
        let last = flipped.len() - 6;
        flipped[last] ^= 0x55;
        if encoding == "gzip" {
            assert!(
                inflated(encoding, flipped, 1000).is_err(),
                "the checksum is looked at"
            );
        }
    }
    for (encoding, nothing) in [("gzip", gzip(b"")), ("zstd", zstd(b""))] {
        let no = inflated(encoding, nothing, 1000).unwrap_err();
        assert!(no.detail.contains("empty once decompressed"));
    }
}

#[test]
fn a_zstd_window_at_the_senders_will_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(b"{}").unwrap();
    let no = inflated("zstd", encoder.finish().unwrap(), 1000).unwrap_err();
    assert_eq!(no.code, Code::MalformedMessage);
    assert!(no.detail.contains("8 MiB"));
}

#[test]
fn unsupported_types_are_told_what_is_taken() {
    let body = Bytes::from_static(b"{}");
    let pictures = Limits {
        accepts_pictures: true,
        ..Limits::default()
    };
    let no = decode(Some("image/png"), None, &body, &Limits::default()).unwrap_err();
    assert_eq!(no.code, Code::UnsupportedMediaType);
    assert!(no.detail.contains("takes no picture") && no.detail.contains("application/json"));
    assert!(!no.detail.contains("webp"));
    let no = decode(Some("text/plain"), None, &body, &pictures).unwrap_err();
    assert_eq!(no.code, Code::UnsupportedMediaType);
    assert!(no.detail.contains("text/plain") && no.detail.contains("image/webp"));
    let no = decode(None, Some("br"), &body, &pictures).unwrap_err();
    assert_eq!(no.code, Code::UnsupportedMediaType);
    assert!(no.detail.contains("br") && no.detail.contains("gzip"));
}

#[test]
fn a_picture_is_passed_on_undecoded() {
    let limits = Limits {
        accepts_pictures: true,
        ..Limits::default()
    };
    let body = Bytes::from_static(b"not even a picture");
    let read = |body: &Bytes, encoding| decode(Some("image/png"), encoding, body, &limits);
    assert_eq!(
        read(&body, None),
        Ok((Object::Picture(body.clone()), ContentType::Png))
    );
    let zipped = gzip(&body).into();
    assert_eq!(
        read(&zipped, Some("gzip")),
        Ok((Object::Picture(body), ContentType::Png))
    );
    assert_eq!(
        read(&Bytes::new(), None).unwrap_err().code,
        Code::MalformedMessage
    );
}
