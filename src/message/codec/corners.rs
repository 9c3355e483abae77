//! JSON's corner cases, as the public collections of them have it (`JSONTestSuite`, "Parsing JSON is a minefield"), and
//! what becomes of each here. Where the standard leaves a choice, the choice is in this table.

use super::tests::read;
use crate::message::rejection::Code;

const TAKEN: &[&[u8]] = &[
    // structure and space
    b"null",
    b"42",
    b"\"x\"",
    b" \t\r\n[ ]\n",
    b"[[]   ]",
    b"[null, 1, \"1\", {}]",
    b"{\"\": 0}",
    b"{\"a\\u0000b\": 0}",
    b"{\"a\": {\"a\": {}}}",
    b"\xef\xbb\xbf{}",
    // numbers
    b"-0",
    b"[-123]",
    b"[0e+1]",
    b"[123e65]",
    b"[1E22]",
    b"[1E-2]",
    b"[123.456e78]",
    b"[-1e-400]",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"100000000000000000000",
    b"-237462374673276894279832749832423479823246327846",
    // texts
    b"\"\\u0060\\u012a\\u12AB\"",
    b"\"\\uD801\\udc37\\ud83d\\ude39\"",
    b"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    b"\"\\u0000\"",
    b"\"\\uFFFF\\uFDD0\"",
    b"\"\x7f\"",
    b"\"\xe2\x80\xa8\xe2\x80\xa9\"",
    b"\"\xf4\x8f\xbf\xbf\"",
    b"\"/* \\u005C\"",
];

const REFUSED: &[&[u8]] = &[
    // structure
    b"[1,]",
    b"[,1]",
    b"[1,,2]",
    b"[\"a\" \"b\"]",
    b"[1:2]",
    b"[1}",
    b"[1]]",
    b"[][]",
    b"]",
    b"[",
    b"{",
    b"[1",
    b"{\"a\": 1,}",
    b"{,}",
    b"{a: 1}",
    b"{1: 1}",
    b"{null: 1}",
    b"{\"a\" 1}",
    b"{\"a\"}",
    b"{\"a\":}",
    b"{\"a\": 1 \"b\": 2}",
    b"{\"a\"::1}",
    b"{\"a\": 1, \"a\": 2}",
    b"{\"a\": 1, \"\\u0061\": 1}",
    b"[\"a\",\n4\n,1,",
    // words
    b"nul",
    b"tru",
    b"True",
    b"undefined",
    b"NaN",
    b"nan",
    b"Infinity",
    b"-Infinity",
    b"[null1]",
    // comments and space that is none
    b"/* c */ 1",
    b"1 // c",
    b"# c\n1",
    b"\x0c1",
    b"\xc2\xa01",
    b"\xe2\x81\xa0[]",
    b"\xef\xbb\xbf\xef\xbb\xbf[]",
    b"\xef\xbb\xbf",
    b"1\0",
    // numbers
    b"-01",
    b"012",
    b"1.",
    b".5",
    b"-.5",
    b"+1",
    b"-",
    b"--2",
    b"2.e3",
    b"1e",
    b"1e+",
    b"1eE2",
    b"0x42",
    b"1_000",
    b"1 000",
    b"1,5",
    b"\xef\xbc\x91",
    b"1e400",
    b"-1e999999999999",
    b"1e9223372036854775808",
    b"[0.4e00669999999999999999999999999999999999999999999999999999999999999999999999999999999]",
    // texts
    b"\"",
    b"\"a",
    b"'a'",
    b"\"\\\"",
    b"\"\\",
    b"\"a\0a\"",
    b"\"\t\"",
    b"\"\n\"",
    b"\"\x1f\"",
    b"\"\\a\"",
    b"\"\\x00\"",
    b"\"\\u00A\"",
    b"\"\\u00G0\"",
    b"\"\\uD800\"",
    b"\"\\uDFAA\"",
    b"\"\\uD800\\u\"",
    b"\"\\uD800\\uD800\\n\"",
    b"\"\\uD800abc\"",
    b"\"\\uDd1e\\uD834\"",
    // bytes that are not UTF-8
    b"[\xff]",
    b"\"\xc0\xaf\"",
    b"\"\xe0\x80\x80\"",
    b"\"\xed\xa0\x80\"",
    b"\"\xf4\x90\x80\x80\"",
    b"\"\xe5\"",
    b"\xff\xfe[\0]\0",
    b"\xfe\xff\0[\0]",
    b"[\0]\0",
];

#[test]
fn what_the_standard_has_is_read_as_any_reader_reads_it() {
    for body in TAKEN {
        let shown = String::from_utf8_lossy(body);
        let read = read(None, body).unwrap_or_else(|no| panic!("{shown}: {}", no.detail));
        let bare = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let other: serde_json::Value = serde_json::from_slice(bare).unwrap();
        assert_eq!(read, other, "{shown}");
    }
}

#[test]
fn what_it_has_not_is_malformed_and_said_so() {
    for body in REFUSED {
        let shown = String::from_utf8_lossy(body);
        let no = read(None, body).expect_err(&shown);
        assert_eq!(no.code, Code::MalformedMessage, "{shown}");
        assert!(no.detail.len() > 20, "{shown}: {}", no.detail);
    }
}
