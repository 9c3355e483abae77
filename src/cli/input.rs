//! Request files of `score` and `send`: what lies in a file, and as which content type.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use bytes::Bytes;

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
            std::io::stdin()
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

/// A content type, and for JSON whether it is one request a line.
#[derive(Clone, Copy)]
enum Kind {
    Whole(&'static str),
    Lines,
}

fn kind(file: &Path, body: &[u8]) -> Option<Kind> {
    let ending = file
        .extension()
        .and_then(|e| e.to_str())
        .map(str::to_lowercase);
    Some(match ending.as_deref() {
        Some("json") => Kind::Whole("application/json"),
        Some("ndjson" | "jsonl") => Kind::Lines,
        Some("msgpack") => Kind::Whole("application/vnd.msgpack"),
        Some("png") => Kind::Whole("image/png"),
        Some("jpg" | "jpeg") => Kind::Whole("image/jpeg"),
        Some("webp") => Kind::Whole("image/webp"),
        None => sniff(body),
        Some(_) => return None,
    })
}

/// Standard input and files without an ending: by their first bytes.
fn sniff(body: &[u8]) -> Kind {
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
        [first, ..] if *first >= 0x80 => Kind::Whole("application/vnd.msgpack"),
        _ if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() => {
            Kind::Whole("application/json")
        }
        _ => Kind::Lines,
    }
}

fn split(name: &str, kind: Kind, body: Bytes) -> Vec<Sample> {
    let content_type = match kind {
        Kind::Whole(content_type) => {
            return vec![Sample {
                source: name.to_owned(),
                content_type,
                body,
            }];
        }
        Kind::Lines => "application/json",
    };
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(at, line)| Sample {
            source: format!("{name}:{}", at + 1),
            content_type,
            body: body.slice_ref(line),
        })
        .collect()
}
