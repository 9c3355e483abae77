//! Bodies that are no business object.

use serde_json::{Value, json};

use super::{case::Case, payment, pictures, sample};

const MALFORMED: &str = "malformed_message";
const TOO_LARGE: &str = "request_too_large";
const UNSUPPORTED: &str = "unsupported_media_type";

const MESSAGE_PACK: &str = "application/vnd.msgpack";

fn json_body(name: &str, body: impl AsRef<[u8]>) -> Case {
    Case::body(name, "fraud", body).with("content_type", "application/json")
}

fn msgpack_body(name: &str, body: impl AsRef<[u8]>) -> Case {
    Case::body(name, "fraud", body).with("content_type", MESSAGE_PACK)
}

/// The payment as JSON text, with the text of its amount in the place of a number.
fn amount(text: &str) -> String {
    payment().to_string().replace("53.87", text)
}

/// `{"amount": value}` in MessagePack.
fn packed(value: &[u8]) -> Vec<u8> {
    [&[0x81, 0xa6][..], b"amount", value].concat()
}

/// The payment, changed.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Case {
    let mut object = payment();
    change(&mut object);
    Case::object(name, "fraud", object).gets("invalid_request")
}

pub(super) fn unreadable() -> Vec<Case> {
    let text = payment().to_string();
    let half = &text.as_bytes()[..text.len() / 2];
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let deep = "[".repeat(100_000);
    let closed = ["[".repeat(50_000), "]".repeat(50_000)].concat();
    let on_digits =
        |name, body: &[u8], kind| Case::body(name, "digits", body).with("content_type", kind);
    let cases = vec![
        json_body("empty", b""),
        msgpack_body("empty MessagePack", b""),
        Case::body("empty without content type", "fraud", b""),
        Case::body("empty picture", "digits", b"").with("content_type", "image/png"),
        json_body("one byte", b"{"),
        json_body("one zero byte", b"\0"),
        msgpack_body("one byte of MessagePack", b"\x81"),
        msgpack_body("the byte that MessagePack never uses", b"\xc1"),
        json_body("truncated", half),
        json_body("truncated sample", sample("fraud/bad-truncated.json")),
        msgpack_body("truncated MessagePack", packed(&[0xcb, 0x40])),
        msgpack_body(
            "MessagePack that promises 4 GiB",
            packed(&[0xdb, 0xff, 0xff, 0xff, 0xff]),
        ),
        msgpack_body(
            "MessagePack that promises 4 G entries",
            [0xdd, 0xff, 0xff, 0xff, 0xff],
        ),
        on_digits("100k brackets", deep.as_bytes(), "application/json"),
        on_digits(
            "100k brackets, closed",
            closed.as_bytes(),
            "application/json",
        ),
        on_digits(
            "100k objects",
            "{\"a\":".repeat(100_000).as_bytes(),
            "application/json",
        ),
        on_digits("100k arrays of MessagePack", &[0x91; 100_000], MESSAGE_PACK),
        on_digits(
            "100k maps of MessagePack",
            &[0x81, 0xa1, b'a'].repeat(100_000),
            MESSAGE_PACK,
        ),
        json_body("NaN", amount("NaN")),
        json_body("Infinity", amount("Infinity")),
        json_body("-Infinity", amount("-Infinity")),
        json_body("1e400", amount("1e400")),
        json_body("hexadecimal", amount("0x10")),
        json_body("leading zero", amount("007")),
        msgpack_body(
            "NaN in MessagePack",
            packed(&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
        ),
        msgpack_body("infinity in MessagePack", packed(&[0xca, 0x7f, 0x80, 0, 0])),
        msgpack_body(
            "negative infinity in MessagePack",
            packed(&[0xcb, 0xff, 0xf0, 0, 0, 0, 0, 0, 0]),
        ),
        msgpack_body("an extension type", packed(&[0xd4, 1, 1])),
        msgpack_body("a key that is no text", [0x81, 0x01, 0x01]),
        json_body(
            "invalid UTF-8",
            [&b"{\"currency\":\"\xff\xfe\"}"[..]].concat(),
        ),
        json_body("a lone surrogate", br#"{"currency":"\ud800"}"#),
        json_body("UTF-16", utf16),
        msgpack_body("invalid UTF-8 in MessagePack", packed(&[0xa2, 0xff, 0xfe])),
        json_body("a key twice", br#"{"amount":1,"amount":2}"#),
        json_body("something after the end", [&text, "x"].concat()),
        msgpack_body(
            "something after the end of MessagePack",
            [&packed(&[1])[..], &[1]].concat(),
        ),
        json_body("MessagePack called JSON", packed(&[1])),
        msgpack_body("JSON called MessagePack", &text),
        json_body("a picture called JSON", sample("digits/0-native.png")),
        json_body("gzip that is none", &text).with("content_encoding", "gzip"),
        json_body("zstd that is none", &text).with("content_encoding", "zstd"),
        json_body("truncated gzip", &pictures::gzip(text.as_bytes())[..60])
            .with("content_encoding", "gzip"),
        json_body("truncated zstd", &pictures::zstd(text.as_bytes())[..60])
            .with("content_encoding", "zstd"),
        json_body("empty gzip", pictures::gzip(b"")).with("content_encoding", "gzip"),
        json_body(
            "gzip of gzip",
            pictures::gzip(&pictures::gzip(text.as_bytes())),
        )
        .with("content_encoding", "gzip"),
    ];
    cases.into_iter().map(|case| case.gets(MALFORMED)).collect()
}

pub(super) fn oversized() -> Vec<Case> {
    let ten_megabytes = vec![b' '; 10 << 20];
    let bomb = vec![0; 256 << 20];
    let (gzipped, zstandard) = (pictures::gzip(&bomb), pictures::zstd(&bomb));
    let small = pictures::gzip(&ten_megabytes);
    assert!(small.len() < 65_536, "is to be found out by inflating it");
    let digits = |name, body: &[u8]| Case::body(name, "digits", body);
    let cases = vec![
        json_body("10 MB where the limit is 64 KiB", &ten_megabytes),
        msgpack_body("10 MB of MessagePack", vec![0xc0; 10 << 20]),
        json_body("a byte more than the limit", vec![b' '; 65_537]),
        json_body("a gzip bomb of 10 MB", &small).with("content_encoding", "gzip"),
        json_body("a zstd bomb of 256 MB", &zstandard).with("content_encoding", "zstd"),
        digits("a gzip bomb of 256 MB", &gzipped).with("content_encoding", "gzip"),
        digits("a zstd bomb in the place of a picture", &zstandard)
            .with("content_encoding", "zstd")
            .with("content_type", "image/png"),
    ];
    cases.into_iter().map(|case| case.gets(TOO_LARGE)).collect()
}

pub(super) fn of_another_kind() -> Vec<Case> {
    let types = [
        "text/plain",
        "application/xml",
        "application/octet-stream",
        "image/gif",
        "image/svg+xml",
        "*/*",
        "json",
        "application/json; charset=latin1",
        "ä",
        "image/png",
    ];
    let long = format!("application/{}", "x".repeat(243));
    let by_type = types.into_iter().chain([&*long]).map(|kind| {
        Case::body(
            &format!("content type {kind}"),
            "fraud",
            payment().to_string(),
        )
        .with("content_type", kind)
    });
    let encodings = ["br", "deflate", "gzip, zstd", "latin1"].map(|encoding| {
        let name = format!("content encoding {encoding}");
        Case::body(&name, "fraud", payment().to_string()).with("content_encoding", encoding)
    });
    by_type
        .chain(encodings)
        .map(|case| case.gets(UNSUPPORTED))
        .collect()
}

pub(super) fn invalid() -> Vec<Case> {
    let number = |name, value: Value| changed(name, |o| o["amount"] = value).at("/amount");
    let whole = |name, object| {
        Case::object(name, "fraud", object)
            .gets("invalid_request")
            .at("")
    };
    vec![
        number("number as text", json!("53.87")),
        number("number as null", json!(null)),
        number("number as list", json!([1])),
        number("number beyond the schema's maximum", json!(1e300)),
        number("zero where more is asked", json!(0)),
        changed("null", |o| o["sender"]["ip"] = json!(null)).at("/sender/ip"),
        changed("a pattern missed", |o| {
            o["sender"]["ip"] = json!("300.1.1.1");
        })
        .at("/sender/ip"),
        changed("missing", |o| {
            o.as_object_mut().unwrap().remove("amount");
        })
        .at(""),
        changed("missing below", |o| {
            o["sender"].as_object_mut().unwrap().remove("ip");
        })
        .at("/sender"),
        changed("extra", |o| o["extra"] = json!(1)).at(""),
        changed("extra, and 60 KB of it", |o| {
            o["extra"] = json!("x".repeat(60_000));
        })
        .at(""),
        changed("text with a zero", |o| o["currency"] = json!("E\0R")).at("/currency"),
        changed("text of 60 KB", |o| {
            o["transaction_id"] = json!("x".repeat(60_000));
        })
        .at("/transaction_id"),
        whole("null alone", json!(null)),
        whole("one digit", json!(1)),
        whole("text alone", json!("x")),
        whole("a list of payments", json!([payment()])),
        whole(
            "nested as deep as is taken",
            (0..63).fold(json!([]), |inner, _| json!([inner])),
        ),
        msgpack_body(
            "half of it in MessagePack",
            packed(&[0xca, 0x42, 0x28, 0, 0]),
        )
        .gets("invalid_request"),
    ]
}
