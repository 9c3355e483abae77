//! Configuration: raw → validated. Every module owns its own `Config`; this one composes them.
//!
//! Flags beat `INFERQ__SECTION__KEY` environment variables, which beat the file. A secret may be given as
//! `…_file`: the path of a file that holds it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{broker, intake, telemetry};

/// Where a file is looked for when none is named.
pub const DEFAULT_FILE: &str = "config/inferq.toml";

/// Environment variables that configure start with this; `__` separates section and key.
const PREFIX: &str = "INFERQ__";

/// Keys whose value may stand in a file of its own, as `<key>_file`.
const SECRETS: [(&str, &str); 1] = [("broker", "url")];

/// Everything that `inferq` can be told.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// RabbitMQ.
    pub broker: broker::Config,
    /// Where the packages are.
    pub repository: Repository,
    /// ONNX Runtime.
    pub runtime: Runtime,
    /// How deliveries are settled.
    pub intake: intake::Config,
    /// The operators' HTTP.
    pub admin: Admin,
    /// Logs.
    pub telemetry: telemetry::Config,
}

/// Where the packages are.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Repository {
    /// The folder that holds `<name>/<version>/package.toml`.
    pub dir: PathBuf,
}

impl Default for Repository {
    fn default() -> Self {
        Repository {
            dir: PathBuf::from("packages"),
        }
    }
}

/// ONNX Runtime.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// The `libonnxruntime.so` to load; looked for in the usual places when absent.
    pub library: Option<PathBuf>,
}

/// The operators' HTTP.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address of `/livez`, `/readyz`, `/metrics`, `/status`. Port 0 takes a free one.
    pub addr: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            addr: SocketAddr::from(([127, 0, 0, 1], 9090)),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFault {
    /// A file that was named, or holds a secret, cannot be read.
    #[error("{key}: file {path} cannot be read ({source}); name one that this user may read")]
    Unreadable {
        /// Who named it.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{path}: is not valid TOML: {detail}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        detail: String,
    },
    /// A key or a value is wrong.
    #[error("configuration: {detail}{hint}")]
    Invalid {
        /// Which and what.
        detail: String,
        /// The nearest known key, where one is near.
        hint: String,
    },
    /// Both `key` and `key_file` are given.
    #[error("configuration: {key} and {key}_file are both given; keep one")]
    Twice {
        /// The secret's key.
        key: String,
    },
}

impl Config {
    /// Reads `file` (or [`DEFAULT_FILE`] where it exists), lays environment and flags over it, and validates.
    ///
    /// # Errors
    /// Everything that a user can get wrong; see [`ConfigFault`].
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(&str, Option<String>)],
    ) -> Result<Config, ConfigFault> {
        let mut table = match file {
            Some(path) => read(path)?,
            None if Path::new(DEFAULT_FILE).is_file() => read(Path::new(DEFAULT_FILE))?,
            None => Table::new(),
        };
        for (name, value) in environment {
            if let Some(key) = name.strip_prefix(PREFIX) {
                set(&mut table, &key.to_lowercase().replace("__", "."), &value)?;
            }
        }
        for (key, value) in flags {
            if let Some(value) = value {
                set(&mut table, key, value)?;
            }
        }
        for (section, key) in SECRETS {
            resolve_secret(&mut table, section, key)?;
        }
        let config: Config = table.try_into().map_err(|error| invalid(&error))?;
        config
            .broker
            .validate()
            .map_err(|fault| ConfigFault::Invalid {
                detail: fault.to_string(),
                hint: String::new(),
            })?;
        Ok(config)
    }

    /// The effective configuration as TOML, secrets hidden.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn print(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}

fn read(path: &Path) -> Result<Table, ConfigFault> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigFault::Unreadable {
        key: "--config".to_owned(),
        path: path.to_owned(),
        source,
    })?;
    text.parse()
        .map_err(|error: toml::de::Error| ConfigFault::Syntax {
            path: path.to_owned(),
            detail: error.to_string(),
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
        at = entry.as_table_mut().ok_or_else(|| ConfigFault::Invalid {
            detail: format!("{section} is a value, but {key} needs it to be a section"),
            hint: String::new(),
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
    let Some(Value::String(path)) = section_table.remove(&format!("{key}_file")) else {
        return Ok(());
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

/// serde's words for an unknown key, with the nearest known one added.
fn invalid(error: &toml::de::Error) -> ConfigFault {
    let detail = error.to_string().trim().replace('\n', " ");
    let mut quoted = error.message().split('`').skip(1).step_by(2);
    let hint = quoted
        .next()
        .filter(|_| error.message().starts_with("unknown field"))
        .and_then(|unknown| {
            let near = quoted
                .map(|known| (strsim::damerau_levenshtein(known, unknown), known))
                .min()?;
            (near.0 <= 4).then(|| format!("; did you mean {}?", near.1))
        });
    ConfigFault::Invalid {
        detail,
        hint: hint.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Config, ConfigFault> {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let unique = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!(
            "inferq-config-{}-{unique}.toml",
            std::process::id()
        ));
        std::fs::write(&path, file).unwrap();
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let flags: Vec<_> = flags
            .iter()
            .map(|(k, v)| (*k, Some((*v).to_owned())))
            .collect();
        let config = Config::load(Some(&path), environment, &flags);
        std::fs::remove_file(path).unwrap();
        config
    }

    #[test]
    fn flags_beat_the_environment_which_beats_the_file() {
        let file =
            "[repository]\ndir = 'a'\n[admin]\naddr = '127.0.0.1:1'\n[runtime]\nlibrary = 'x.so'";
        let environment = [
            ("INFERQ__ADMIN__ADDR", "127.0.0.1:2"),
            ("INFERQ__REPOSITORY__DIR", "b"),
        ];
        let config = load(file, &environment, &[("repository.dir", "c")]).unwrap();
        assert_eq!(config.runtime.library.as_deref(), Some(Path::new("x.so")));
        assert_eq!(config.admin.addr.port(), 2);
        assert_eq!(config.repository.dir, Path::new("c"));
    }

    #[test]
    fn a_typo_names_the_nearest_key() {
        let fault = load("[repositroy]\ndir = 'a'", &[], &[])
            .unwrap_err()
            .to_string();
        assert!(
            fault.contains("repositroy") && fault.contains("did you mean repository?"),
            "{fault}"
        );
        let fault = load("", &[("INFERQ__ADMIN__ADR", "x")], &[])
            .unwrap_err()
            .to_string();
        assert!(fault.contains("did you mean addr?"), "{fault}");
    }

    #[test]
    fn a_secret_may_stand_in_a_file_and_is_never_printed() {
        let secret = std::env::temp_dir().join(format!("inferq-secret-{}", std::process::id()));
        std::fs::write(&secret, "amqp://me:hunter2@127.0.0.1:5672/%2f\n").unwrap();
        let file = format!("[broker]\nurl_file = '{}'", secret.display());
        let printed = load(&file, &[], &[]).unwrap().print().unwrap();
        assert!(
            !printed.contains("hunter2") && printed.contains("127.0.0.1"),
            "{printed}"
        );
        let both = format!("{file}\nurl = 'amqp://a'");
        assert!(
            load(&both, &[], &[])
                .unwrap_err()
                .to_string()
                .contains("both given")
        );
        let flag = load(&file, &[], &[("broker.url", "amqp://127.0.0.2")])
            .unwrap()
            .print()
            .unwrap();
        assert!(flag.contains("127.0.0.2"), "{flag}");
        std::fs::remove_file(secret).unwrap();
    }
}
