//! Every content type there and back.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{
    assert_at_rest,
    case::Case,
    clients::{CLIENTS, hold},
    payment, pictures, sample,
};
use crate::worker::{Worker, samples, vhost};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const MESSAGE_PACK: [&str; 3] = [
    "application/vnd.msgpack",
    "application/msgpack",
    "application/x-msgpack",
];

const JSON: [&str; 3] = [
    "application/json",
    "application/json; charset=utf-8",
    "Application/JSON",
];

fn objects() -> Vec<Case> {
    let mut cases = vec![Case::object("no content type", "fraud", payment())];
    for content_type in JSON.into_iter().chain(MESSAGE_PACK) {
        for encoding in ["", "gzip", "zstd", "UTF-8", "identity"] {
            let name = format!("{content_type} {encoding}");
            let case = Case::object(&name, "fraud", payment()).with("content_type", content_type);
            let encoded = if encoding.is_empty() {
                case
            } else {
                case.with("content_encoding", encoding)
            };
            cases.push(encoded);
        }
    }
    cases
        .into_iter()
        .map(|case| case.says("verdict", "not_fraud"))
        .collect()
}

fn whole_pictures() -> Vec<Case> {
    let files = [
        ("image/png", sample("digits/5-enlarged.png"), 5),
        ("image/jpeg", sample("digits/7-jpeg.jpg"), 7),
        (
            "image/webp",
            pictures::webp(&sample("digits/5-enlarged.png")),
            5,
        ),
    ];
    let each = files.into_iter().flat_map(|(kind, bytes, digit)| {
        let case = |name, body: &[u8]| {
            Case::body(&format!("{kind} {name}"), "digits", body)
                .with("content_type", kind)
                .says("digit", digit)
        };
        [
            case("plain", &bytes),
            case("gzip", &pictures::gzip(&bytes)).with("content_encoding", "gzip"),
            case("zstd", &pictures::zstd(&bytes)).with("content_encoding", "zstd"),
        ]
    });
    each.collect()
}

fn pictures_in_objects() -> Vec<Case> {
    let text = BASE64_STANDARD.encode(sample("digits/5-enlarged.png"));
    let case = |name, picture| {
        Case::object(name, "digits", json!({ "picture": picture })).says("digit", 5)
    };
    let msgpack = |name, picture| case(name, picture).with("content_type", MESSAGE_PACK[0]);
    vec![
        case("base64 in JSON", json!(text)).with("content_type", JSON[0]),
        msgpack("base64 in MessagePack", json!(text)),
        msgpack("bin in MessagePack", json!({ "$bytes": text })),
        msgpack("bin in MessagePack, zstd", json!({ "$bytes": text }))
            .with("content_encoding", "zstd"),
    ]
}

fn wishes() -> Vec<Case> {
    let asks = [
        ("JSON", JSON[0], MESSAGE_PACK[1]),
        ("MessagePack", MESSAGE_PACK[0], JSON[0]),
        ("what is not there", MESSAGE_PACK[2], "application/cbor"),
    ];
    let of_payments = asks.map(|(name, content_type, accept)| {
        Case::object(&format!("inferq-accept beside {name}"), "fraud", payment())
            .with("content_type", content_type)
            .header("inferq-accept", accept)
    });
    let of_pictures = Case::body(
        "inferq-accept beside a picture",
        "digits",
        sample("digits/0-native.png"),
    )
    .with("content_type", "image/png")
    .header("inferq-accept", MESSAGE_PACK[0])
    .says("digit", 0);
    let rejected = Case::object("a rejection in MessagePack", "fraud", json!({}))
        .with("content_type", MESSAGE_PACK[0])
        .gets("invalid_request");
    of_payments
        .into_iter()
        .chain([of_pictures, rejected])
        .collect()
}

fn envelopes() -> Vec<Case> {
    let case = |name| {
        Case::object(
            name,
            "diagnosis",
            serde_json::from_slice::<serde_json::Value>(&sample("diagnosis/benign-1.json"))
                .unwrap(),
        )
        .says("diagnosis", "benign")
    };
    vec![
        case("correlation id").with("correlation_id", "c-1"),
        case("message id").with("message_id", "m-1"),
        case("both ids")
            .with("correlation_id", "c-2")
            .with("message_id", "m-2"),
        case("trace")
            .header("traceparent", TRACE)
            .header("tracestate", "vendor=1"),
        case("pinned").header("inferq-version", "1.0.0"),
        case("in time").header("inferq-deadline", 4_102_444_800_000_i64),
        case("in time, as text").header("inferq-deadline", "4102444800000"),
        case("expiration")
            .with("expiration", "60000")
            .with("priority", 9),
        case("headers of others")
            .header("my-own", json!({ "a": [1, "two"] }))
            .with("app_id", "x")
            .with("type", "y"),
    ]
}

#[test]
fn every_content_type_comes_back_to_clients_that_nobody_here_wrote() {
    let url = vhost();
    let worker = Worker::start(&url, &samples());
    let cases = [
        objects(),
        whole_pictures(),
        pictures_in_objects(),
        wishes(),
        envelopes(),
    ]
    .concat();
    for client in CLIENTS {
        for direct in [true, false] {
            let cases: Vec<_> = cases
                .iter()
                .map(|case| case.clone().direct(direct))
                .collect();
            hold(client, &url, &cases);
        }
    }
    assert_at_rest(&worker, &url);
}
