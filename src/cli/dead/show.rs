//! `inferq dead show`.

use std::{fs, path::PathBuf};

use anyhow::{Context, anyhow};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{
    Failed,
    filter::Filter,
    letters,
    notes::{Notes, plain},
    open, output, owner,
    scan::Scan,
};
use crate::{
    broker::{Header, Letter, Properties},
    config::Config,
    message::{
        codec::{self, Limits},
        object::Object,
    },
};

/// Bytes of a body that is no JSON which are shown.
const HEAD: usize = 256;
/// Bytes that a compressed body may inflate to.
const INFLATED: usize = 64 << 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
JSON and MessagePack bodies are shown as JSON, others by their size and first bytes. Of several letters with
the same id it is the oldest.

Example:
  inferq dead show fraud 7f3c --body request.json")]
pub(super) struct Args {
    /// Whose dead letters.
    #[arg(value_name = "PACKAGE", value_parser = owner)]
    package: String,
    /// The letter's id, as `list` shows it.
    #[arg(value_name = "ID")]
    id: String,
    /// Write the body there as it is, instead of showing it.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
}

pub(super) async fn run(args: &Args, config: &Config, json: bool) -> Result<(), Failed> {
    let filter = Filter::one(&args.id);
    let found = open(&config.broker, &args.package).await?;
    let count = found.count();
    let mut scan = Scan::of(found, &filter);
    let letter = find(&mut scan).await;
    let closed = scan.close().await;
    let Some((notes, letter)) = letter? else {
        return Err(Failed::Data(anyhow!(
            "no letter has the id {:?} among {} of {}; `inferq dead list {}` shows their ids",
            args.id,
            letters(count),
            args.package,
            args.package
        )));
    };
    if let Some(file) = &args.body {
        fs::write(file, &letter.body)
            .with_context(|| format!("{} cannot be written", file.display()))
            .map_err(Failed::Usage)?;
    }
    output::line(shown(&notes, &letter, args.body.is_none(), json))?;
    closed
}

async fn find(scan: &mut Scan<'_>) -> Result<Option<(Notes, Letter)>, Failed> {
    while let Some(batch) = scan.next().await? {
        if let Some(found) = batch.into_iter().next() {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn shown(notes: &Notes, letter: &Letter, with_body: bool, json: bool) -> String {
    let mut parts = Map::new();
    if let Value::Object(notes) = notes.json() {
        parts.extend(notes);
    }
    parts.insert("properties".into(), properties(&letter.properties));
    parts.insert("headers".into(), headers(&letter.properties));
    parts.insert("deaths".into(), deaths(&letter.properties));
    if json {
        if with_body {
            let (key, body) = match value(letter) {
                Some(body) => ("body", body),
                None => ("body_base64", json!(BASE64_STANDARD.encode(&letter.body))),
            };
            parts.insert(key.into(), body);
        }
        return Value::Object(parts).to_string();
    }
    let mut lines = Vec::new();
    for (name, part) in &parts {
        match part {
            Value::Object(inner) => {
                let each = inner
                    .iter()
                    .map(|(key, value)| line(&format!("{name}.{key}"), value));
                lines.extend(each);
            }
            Value::Array(inner) => lines.extend(inner.iter().map(|value| line(name, value))),
            value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                lines.push(line(name, value));
            }
        }
    }
    if with_body {
        lines.push(String::new());
        lines.push(body(letter));
    }
    lines.join("\n")
}

fn line(name: &str, value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            plain(&value.to_string())
        }
    };
    format!("{:<32} {text}", plain(name))
}

/// The properties that are there, by AMQP's names.
fn properties(properties: &Properties) -> Value {
    let texts = [
        ("content_type", properties.content_type()),
        ("content_encoding", properties.content_encoding()),
        ("correlation_id", properties.correlation_id()),
        ("reply_to", properties.reply_to()),
        ("expiration", properties.expiration()),
        ("message_id", properties.message_id()),
        ("type", properties.kind()),
        ("user_id", properties.user_id()),
        ("app_id", properties.app_id()),
    ];
    let mut parts = Map::new();
    for (name, text) in texts {
        parts.extend(text.map(|text| (name.to_owned(), json!(text))));
    }
    let priority = properties.priority().map(|priority| json!(priority));
    parts.extend(priority.map(|priority| ("priority".to_owned(), priority)));
    let timestamp = properties.timestamp().map(|timestamp| json!(timestamp));
    parts.extend(timestamp.map(|timestamp| ("timestamp".to_owned(), timestamp)));
    Value::Object(parts)
}

/// All headers but `x-death`, which is told by [`deaths`].
fn headers(properties: &Properties) -> Value {
    let each = properties
        .each_header()
        .filter(|(key, _)| *key != "x-death");
    let each = each.map(|(key, header)| {
        let value = match header {
            Header::Text(text) => json!(text),
            Header::Int(number) => json!(number),
            Header::Time(seconds) => json!(seconds),
            Header::Float(number) => json!(number),
            Header::Bool(truth) => json!(truth),
            Header::Bytes(bytes) => json!(format!("{} bytes", bytes.len())),
            Header::Other => json!("(no text and no number)"),
        };
        (key.to_owned(), value)
    });
    Value::Object(each.collect())
}

fn deaths(properties: &Properties) -> Value {
    let deaths = properties.deaths().into_iter();
    let each = deaths.map(|death| {
        json!({ "queue": death.queue, "reason": death.reason, "count": death.count, "time": death.time })
    });
    each.collect()
}

/// The body as JSON, where it is anything like it.
fn value(letter: &Letter) -> Option<Value> {
    let limits = Limits {
        request_bytes: INFLATED,
        ..Limits::default()
    };
    let (content_type, encoding) = (
        letter.properties.content_type(),
        letter.properties.content_encoding(),
    );
    match codec::decode(content_type, encoding, &letter.body, &limits) {
        Ok((Object::Value(document), _)) => Some(document.root().to_value()),
        Ok((Object::Picture(_), _)) | Err(_) => None,
    }
}

fn body(letter: &Letter) -> String {
    if let Some(text) = value(letter).and_then(|value| serde_json::to_string_pretty(&value).ok()) {
        let lines = text.lines().map(plain);
        return lines.collect::<Vec<_>>().join("\n");
    }
    let head = letter.body.iter().take(HEAD).copied().collect::<Vec<u8>>();
    let mut lines = vec![format!(
        "{} bytes that are no JSON; --body FILE writes them to a file",
        letter.body.len()
    )];
    lines.extend(head.chunks(16).map(hex));
    lines.join("\n")
}

fn hex(bytes: &[u8]) -> String {
    let codes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let printable = |byte: &u8| {
        if byte.is_ascii_graphic() {
            char::from(*byte)
        } else {
            '.'
        }
    };
    let text: String = bytes.iter().map(printable).collect();
    format!("{:<47}  {text}", codes.join(" "))
}
