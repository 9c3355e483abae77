//! File, environment and flags, laid over each other as one table.

use std::{ffi::OsString, path::Path};

use toml::{Table, Value};

use super::{ConfigFault, DEFAULT_FILE};

/// Environment variables that configure start with this; `__` separates section and key.
const PREFIX: &str = "INFERQ__";

/// Keys whose value may stand in a file of its own, as `<key>_file`.
pub(super) const SECRETS: [(&str, &str); 2] = [("broker", "url"), ("duplicates", "url")];

/// Everything that was given, the strongest on top, secrets read from their files.
pub(super) fn table(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[(&str, Option<String>)],
) -> Result<Table, ConfigFault> {
    let mut table = match file {
        Some(path) => read(path)?,
        None if Path::new(DEFAULT_FILE).is_file() => read(Path::new(DEFAULT_FILE))?,
        None => Table::new(),
    };
    for (name, value) in environment {
        let Some(key) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let value = value
            .to_str()
            .ok_or_else(|| invalid(format!("{PREFIX}{key}: found bytes that are not UTF-8")))?;
        set(&mut table, &key.to_lowercase().replace("__", "."), value)?;
    }
    for (key, value) in flags {
        if let Some(value) = value {
            set(&mut table, key, value)?;
        }
    }
    for (section, key) in SECRETS {
        resolve_secret(&mut table, section, key)?;
    }
    Ok(table)
}

fn read(path: &Path) -> Result<Table, ConfigFault> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigFault::Unreadable {
        key: "--config".to_owned(),
        path: path.to_owned(),
        source,
    })?;
    text.parse().map_err(|error: toml::de::Error| {
        // The error's own text quotes the line, which may hold a secret.
        let before = error
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        ConfigFault::Syntax {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            detail: error.message().to_owned(),
        }
    })
}

/// Sets `section.key` to what `value` reads as in TOML, or to the text itself.
fn set(table: &mut Table, key: &str, value: &str) -> Result<(), ConfigFault> {
    let mut path: Vec<&str> = key.split('.').collect();
    let last = path.pop().unwrap_or_default();
    let mut at = table;
    for section in path {
        let entry = at
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()));
        at = entry.as_table_mut().ok_or_else(|| {
            invalid(format!(
                "{section} is a value, but {key} needs it to be a section"
            ))
        })?;
    }
    // A secret given here as text beats one given below as a file, and the other way round.
    at.remove(
        last.strip_suffix("_file")
            .unwrap_or(&format!("{last}_file")),
    );
    at.insert(last.to_owned(), typed(value));
    Ok(())
}

fn typed(value: &str) -> Value {
    let parsed = format!("v = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"));
    match parsed {
        Some(
            value @ (Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Array(_)),
        ) => value,
        _ => Value::String(value.to_owned()),
    }
}

fn resolve_secret(table: &mut Table, section: &str, key: &str) -> Result<(), ConfigFault> {
    let Some(section_table) = table.get_mut(section).and_then(Value::as_table_mut) else {
        return Ok(());
    };
    let path = match section_table.remove(&format!("{key}_file")) {
        None => return Ok(()),
        Some(Value::String(path)) => path,
        Some(other) => {
            let found = other.type_str();
            return Err(invalid(format!(
                "{section}.{key}_file: found a value of type {found}, expected the path of a file"
            )));
        }
    };
    let key = key.to_owned();
    if section_table.contains_key(&key) {
        return Err(ConfigFault::Twice {
            key: format!("{section}.{key}"),
        });
    }
    let secret = std::fs::read_to_string(&path).map_err(|source| ConfigFault::Unreadable {
        key: format!("{section}.{key}_file"),
        path: path.into(),
        source,
    })?;
    section_table.insert(key, Value::String(secret.trim_end().to_owned()));
    Ok(())
}

/// A fault of the table, with the nearest known key where one was mistyped.
pub(super) fn misfit(error: &toml::de::Error) -> ConfigFault {
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let hint = quoted
        .next()
        .filter(|_| message.starts_with("unknown field"))
        .and_then(|unknown| {
            let near = quoted
                .map(|known| (strsim::damerau_levenshtein(known, unknown), known))
                .min()?;
            (near.0 <= 4).then(|| format!("; did you mean {}?", near.1))
        });
    ConfigFault::Invalid {
        detail: error.to_string().trim().replace('\n', " "),
        hint: hint.unwrap_or_default(),
    }
}

pub(super) fn invalid(detail: String) -> ConfigFault {
    ConfigFault::Invalid {
        detail,
        hint: String::new(),
    }
}
