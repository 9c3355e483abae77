//! Configuration: raw → validated. Every module owns its own `Config`; this one composes them.
//!
//! Flags beat `INFERQ__SECTION__KEY` environment variables, which beat the file. A secret may be given as
//! `…_file`: the path of a file that holds it.

mod keys;
mod layers;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Value, json};

use crate::{
    batcher, broker, duplicates, intake,
    package::{Misread, Misreading, by_name},
    predict::{DeviceChoice, Devices, Library, LibraryFault},
    telemetry,
};

use layers::{SECRETS, Settings};

/// Where a file is looked for when none is named.
pub const DEFAULT_FILE: &str = "config/inferq.toml";

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
    /// How the device is measured.
    pub appetite: batcher::Config,
    /// How deliveries are settled.
    pub intake: intake::Config,
    /// Replies already given.
    pub duplicates: duplicates::Config,
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
    /// Where models run: `auto`, `cpu`, `cuda:0` for the first NVIDIA GPU, or several GPUs of one kind that share every
    /// package's queue. `auto` takes the first GPU if a trial run works there, and else says why it does not.
    pub device: DeviceChoice,
    /// Other devices for some packages, as in `fraud=cpu cats=cuda:1+cuda:2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<String>,
}

/// A setting of `[runtime]` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("runtime.devices: found {word:?}, {expected}; {mend}")]
pub struct RuntimeFault {
    word: String,
    expected: &'static str,
    mend: &'static str,
}

impl Runtime {
    /// ONNX Runtime, on the device that was chosen; on the processor where the choice is still open.
    ///
    /// # Errors
    /// As [`Library::open`].
    pub fn open(&self) -> Result<Library, LibraryFault> {
        let devices = match &self.device {
            DeviceChoice::Auto => Devices::default(),
            DeviceChoice::Only(devices) => devices.clone(),
        };
        let library = Library::open(self.library.as_deref())?.on(devices);
        Ok(library.with_devices(self.devices().unwrap_or_default()))
    }

    /// What `devices` says, by the packages' names.
    ///
    /// # Errors
    /// The first word of it that cannot be used.
    pub fn devices(&self) -> Result<BTreeMap<String, Devices>, RuntimeFault> {
        by_name(self.devices.as_deref(), str::parse).map_err(|Misread { word, fault }| {
            let pair = "expected the name of a package, = and cpu, cuda:N or several such GPUs";
            let as_in = "write it as in fraud=cpu cats=cuda:1+cuda:2";
            let (expected, mend) = match fault {
                Misreading::NoPair => (pair, as_in),
                Misreading::NoValue(expected) => (expected, as_in),
                Misreading::Twice => ("expected each package once", "leave one of the two out"),
            };
            RuntimeFault {
                word,
                expected,
                mend,
            }
        })
    }
}

/// The operators' HTTP.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address of `/livez`, `/readyz`, `/metrics`, `/status`. Port 0 takes a free one.
    #[serde(deserialize_with = "address")]
    pub addr: SocketAddr,
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format_args!(
            "found {text:?}, expected an IP address and a port; write them as in 127.0.0.1:9090, or 0.0.0.0:9090 for every interface"
        ))
    })
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
    #[error("{key}: file {path} cannot be read ({reason}); name one that this user may read")]
    Unreadable {
        /// Who named it.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file holds something else than text.
    #[error(
        "{path}: line {line}: found bytes that are not UTF-8, expected text; save the file as UTF-8"
    )]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
    },
    /// The file is no TOML.
    #[error("{path}: line {line} is not valid TOML: {detail}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What.
        detail: String,
    },
    /// A key or a value is wrong.
    #[error("{origin}: {detail}{hint}")]
    Invalid {
        /// Where it was given: a file, an environment variable, the command line.
        origin: String,
        /// Which and what.
        detail: String,
        /// What was meant, or what there is.
        hint: String,
    },
    /// One layer gives a setting twice, or a secret both as text and as a file.
    #[error("{first} and {second} are both given; keep one")]
    Twice {
        /// One of them, with its place.
        first: String,
        /// The other.
        second: String,
    },
}

impl Config {
    /// Reads `file` (or [`DEFAULT_FILE`] where it exists), lays environment and flags over it, and validates.
    ///
    /// # Errors
    /// Everything that a user can get wrong; see [`ConfigFault`].
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(&str, Option<String>)],
    ) -> Result<Config, ConfigFault> {
        let settings = Settings::read(file, environment, flags)?;
        let config: Config =
            serde_path_to_error::deserialize(settings.table.clone()).map_err(|error| {
                let key = error.path().to_string();
                let detail = format!("{key}: {}", error.inner().message());
                settings.fault(&key, detail)
            })?;
        config
            .broker
            .validate()
            .map_err(|fault| settings.fault(&format!("broker.{}", fault.key), fault.to_string()))?;
        config
            .intake
            .validate()
            .map_err(|fault| settings.fault(&format!("intake.{}", fault.key), fault.to_string()))?;
        config
            .runtime
            .devices()
            .map_err(|fault| settings.fault("runtime.devices", fault.to_string()))?;
        config
            .telemetry
            .validate()
            .map_err(|fault| settings.fault("telemetry.log_filter", fault.to_string()))?;
        config.appetite.validate().map_err(|fault| {
            settings.fault(&format!("appetite.{}", fault.key), fault.to_string())
        })?;
        config.duplicates.validate().map_err(|fault| {
            settings.fault(&format!("duplicates.{}", fault.key), fault.to_string())
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

    /// JSON Schema of the configuration file: every key, and `<key>_file` beside every secret.
    #[must_use]
    pub fn schema() -> Value {
        let settings =
            SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let generator = settings.into_generator();
        let mut schema = generator.into_root_schema_for::<Config>().to_value();
        without_null(&mut schema);
        let mut sections = schema.get_mut("properties").and_then(Value::as_object_mut);
        for section in sections
            .iter_mut()
            .flat_map(|sections| sections.values_mut())
        {
            // What its keys say already, and secrets hidden, which no default is.
            section
                .as_object_mut()
                .and_then(|section| section.remove("default"));
        }
        for (section, key) in SECRETS {
            let properties = schema.pointer_mut(&format!("/properties/{section}/properties"));
            if let Some(properties) = properties.and_then(Value::as_object_mut) {
                properties
                    .get_mut(key)
                    .and_then(Value::as_object_mut)
                    .and_then(|s| s.remove("default"));
                let description = format!("Path of a file that holds `{key}`; instead of it.");
                properties.insert(
                    format!("{key}_file"),
                    json!({ "type": "string", "description": description }),
                );
            }
        }
        schema
    }
}

/// TOML has no null: what may be absent is left out.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            members.retain(|key, value| key != "default" || !value.is_null());
            members.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
