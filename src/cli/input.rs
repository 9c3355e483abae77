//! Request files of `score` and `send`: what lies in a file, and as which content type.

use std::{
    io::{Cursor, IsTerminal, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};

use super::output;

/// What `score` and `send` take, for their `--help`.
pub(super) const HELP: &str =
    "Requests: .json, .ndjson, .jsonl, .msgpack, .png, .jpg, .webp; `-` or none: standard input";

/// One request as a producer would publish it.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Where it came from: `file` or `file:line`.
    pub(super) source: String,
    /// Its content type.
    pub(super) content_type: &'static str,
    /// The body, untouched.
    pub(super) body: Bytes,
}

/// Reads every request of `files`; none, or `-`, is standard input.
pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Vec<Sample>> {
    let stdin = [PathBuf::from("-")];
    let files = if files.is_empty() { &stdin[..] } else { files };
    let mut samples = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let mut body = Vec::new();
        if name == "-" {
            let mut stdin = std::io::stdin();
            if stdin.is_terminal() {
                output::note("reading requests from the terminal; end with Ctrl-D");
            }
            stdin
                .read_to_end(&mut body)
                .context("standard input cannot be read")?;
        } else {
            body = std::fs::read(file)
                .with_context(|| format!("{name} cannot be read; give a file with a request"))?;
        }
        let kind = kind(file, &body)
            .with_context(|| format!("{name}: unknown ending; expected .json, .ndjson, .jsonl, .msgpack, .png, .jpg or .webp"))?;
        samples.extend(split(&name, kind, body.into()));
    }
    if samples.is_empty() {
        bail!("there are no requests in what was given");
    }
    Ok(samples)
}

/// What a file holds.
#[derive(Clone, Copy)]
enum Kind {
    /// One request of this content type.
    Whole(&'static str),
    /// JSON, one request a line.
    Lines,
    /// MessagePack, one request after another.
    Stream,
}

const JSON: &str = "application/json";
const MSGPACK: &str = "application/vnd.msgpack";

fn kind(file: &Path, body: &[u8]) -> Option<Kind> {
    let ending = file
        .extension()
        .and_then(|e| e.to_str())
        .map(str::to_lowercase);
    Some(match ending.as_deref() {
        Some("json") => Kind::Whole(JSON),
        Some("ndjson" | "jsonl") => Kind::Lines,
        Some("msgpack") => Kind::Stream,
        Some("png") => Kind::Whole("image/png"),
        Some("jpg" | "jpeg") => Kind::Whole("image/jpeg"),
        Some("webp") => Kind::Whole("image/webp"),
        None => sniff(body),
        Some(_) => return None,
    })
}

/// How some editors begin a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Standard input and files without an ending: by their first bytes.
fn sniff(body: &[u8]) -> Kind {
    if let Some(text) = body.strip_prefix(BYTE_ORDER_MARK) {
        return text_kind(text);
    }
    match body {
        [0x89, b'P', b'N', b'G', ..] => Kind::Whole("image/png"),
        [0xff, 0xd8, 0xff, ..] => Kind::Whole("image/jpeg"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Kind::Whole("image/webp"),
        [first, ..] if *first >= 0x80 => Kind::Stream,
        _ => text_kind(body),
    }
}

fn text_kind(text: &[u8]) -> Kind {
    if serde_json::from_slice::<IgnoredAny>(text).is_ok() {
        Kind::Whole(JSON)
    } else {
        Kind::Lines
    }
}

fn split(name: &str, kind: Kind, body: Bytes) -> Vec<Sample> {
    let sample = |source, content_type, body| Sample {
        source,
        content_type,
        body,
    };
    let (content_type, parts) = match kind {
        Kind::Whole(content_type) => {
            return vec![sample(name.to_owned(), content_type, body)];
        }
        Kind::Lines => (JSON, lines(&body)),
        Kind::Stream => match values(&body) {
            values if values.len() < 2 => return vec![sample(name.to_owned(), MSGPACK, body)],
            values => (MSGPACK, values),
        },
    };
    let numbered = |(at, part): (usize, &[u8])| {
        let body = body.slice_ref(part);
        sample(format!("{name}:{at}"), content_type, body)
    };
    parts.into_iter().map(numbered).collect()
}

/// Lines that are not blank, with their numbers.
fn lines(body: &[u8]) -> Vec<(usize, &[u8])> {
    let lines = (1..).zip(body.split(|byte| *byte == b'\n'));
    lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .collect()
}

/// MessagePack values with their numbers. What cannot be read is one value: the package says what is wrong.
fn values(body: &[u8]) -> Vec<(usize, &[u8])> {
    let mut values = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let mut reader = rmp_serde::Deserializer::new(Cursor::new(rest));
        let length = match IgnoredAny::deserialize(&mut reader) {
            Ok(_) => usize::try_from(reader.position()).unwrap_or(usize::MAX),
            Err(_) => rest.len(),
        };
        let (value, left) = rest.split_at(length.clamp(1, rest.len()));
        values.push((values.len() + 1, value));
        rest = left;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(file: &str, body: &[u8]) -> Vec<(String, &'static str, Vec<u8>)> {
        let body = Bytes::copy_from_slice(body);
        let kind = kind(Path::new(file), &body).unwrap();
        let each = split(file, kind, body).into_iter();
        each.map(|s| (s.source, s.content_type, s.body.to_vec()))
            .collect()
    }

    #[test]
    fn json_lines_are_numbered_as_an_editor_does() {
        let found = sources("a.ndjson", b"{}\n\n{\"a\":1}\r\n");
        assert_eq!(found[0], ("a.ndjson:1".into(), JSON, b"{}".to_vec()));
        assert_eq!(found[1].0, "a.ndjson:3");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_file_of_messagepack_may_hold_many_requests() {
        let one = sources("a.msgpack", &[0x81, 0xa1, b'x', 1]);
        assert_eq!(
            one,
            [("a.msgpack".into(), MSGPACK, vec![0x81, 0xa1, b'x', 1])]
        );
        let two = sources("a.msgpack", &[0x80, 0x81, 0xa1, b'x', 1, 0x81]);
        let bodies: Vec<_> = two.iter().map(|(_, _, body)| body.as_slice()).collect();
        assert_eq!(
            bodies,
            [&[0x80][..], &[0x81, 0xa1, b'x', 1][..], &[0x81][..]]
        );
        assert_eq!(two[1].0, "a.msgpack:2");
    }

    #[test]
    fn standard_input_is_told_by_its_first_bytes() {
        let kinds = [
            (&b"{\"a\": 1}"[..], JSON, 1),
            (b"{\"a\": 1}\n{\"a\": 2}\n", JSON, 2),
            (b"{\"a\":", JSON, 1),
            (b"\xef\xbb\xbf{\"a\":\n1}", JSON, 1),
            (b"\xef\xbb\xbf{\"a\": 1}\n{\"a\": 2}\n", JSON, 2),
            (&[0x81, 0xa1, b'x', 1], MSGPACK, 1),
            (&[0xff, 0xd8, 0xff, 0xe0], "image/jpeg", 1),
            (b"\x89PNG\r\n", "image/png", 1),
            (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp", 1),
        ];
        for (body, content_type, count) in kinds {
            let found = sources("-", body);
            assert_eq!((found[0].1, found.len()), (content_type, count), "{body:?}");
        }
    }
}
