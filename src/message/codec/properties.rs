//! What holds for any value and any bytes.

use proptest::prelude::*;

use super::{
    tests::{MSGPACK, gzip, read},
    *,
};

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        proptest::num::f64::ANY
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..40).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..20)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_survives_both_encodings(value in any_value()) {
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let body = encode(&value, encoding).unwrap();
            prop_assert_eq!(&read(Some(encoding.of_outcome()), &body).unwrap(), &value);
        }
    }

    #[test]
    fn json_is_read_as_serde_json_reads_it(value in any_value()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(read(None, text.as_bytes()).unwrap(), value);
    }

    #[test]
    fn msgpack_is_read_as_rmp_serde_reads_it(value in any_value()) {
        let body = rmp_serde::to_vec(&value).unwrap();
        let theirs: Value = rmp_serde::from_slice(&body).unwrap();
        prop_assert_eq!(read(MSGPACK, &body).unwrap(), theirs);
    }

    #[test]
    fn no_bytes_whatever_make_it_panic(
        body in prop::collection::vec(any::<u8>(), 0..300),
        prefix in prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", b"\x28\xb5\x2f\xfd", b"{\"a\":", b"\x81\xa1a"]),
        content_type in prop::sample::select(vec![None, Some("application/json"), MSGPACK, Some("image/png"), Some("image/jpeg"), Some("image/webp"), Some("x")]),
        encoding in prop::sample::select(vec![None, Some("gzip"), Some("zstd"), Some("utf-8"), Some("x")]),
    ) {
        let limits = Limits { accepts_pictures: true, request_bytes: 4096, ..Limits::default() };
        let body = Bytes::from([prefix, &body].concat());
        if let Err(no) = decode(content_type, encoding, &body, &limits) {
            prop_assert_eq!(no.stage, Stage::Decode);
        }
    }

    #[test]
    fn a_damaged_value_never_makes_it_panic(
        value in any_value(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let mut body = encode(&value, encoding).unwrap();
            let at = at.index(body.len());
            body[at] = byte;
            if cut {
                body.truncate(at);
            }
            for body in [body.clone(), gzip(&body)] {
                drop(read(Some(encoding.of_outcome()), &body));
            }
        }
    }

    #[test]
    fn media_types_never_make_it_panic(content_type in any::<String>(), encoding in any::<String>()) {
        drop(decode(Some(&content_type), Some(&encoding), &Bytes::from_static(b"1"), &Limits::default()));
    }
}
