//! File, environment and flags, each a layer by itself, laid over each other.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{
    ConfigFault, DEFAULT_FILE,
    keys::{Key, Keys},
};

/// Environment variables that configure start with this; `__` separates section and key.
const PREFIX: &str = "INFERQ__";
/// What a variable starts with whose writer forgot an underscore.
const NEARLY: &str = "INFERQ_";

/// Keys whose value may stand in a file of its own, as `<key>_file`.
pub(super) const SECRETS: [(&str, &str); 2] = [("broker", "url"), ("duplicates", "url")];

/// Where a value was given.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// In a file: the configuration, or a secret's own.
    File(PathBuf),
    /// In an environment variable of this name.
    Variable(String),
    /// By a flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag => f.write_str("command line"),
        }
    }
}

impl Origin {
    /// How a setting is written there.
    fn spelt(&self, key: &Key) -> String {
        match self {
            Origin::File(_) | Origin::Flag => key.full(),
            Origin::Variable(_) => format!("{PREFIX}{}__{}", key.section, key.name).to_uppercase(),
        }
    }

    fn fault(&self, detail: String, hint: String) -> ConfigFault {
        ConfigFault::Invalid {
            origin: self.to_string(),
            detail,
            hint,
        }
    }
}

/// Section and name of a setting.
type Name = (String, String);

/// What one layer gives, and where exactly.
#[derive(Debug, Default)]
struct Layer(BTreeMap<Name, (Value, Origin)>);

/// Everything that was given, the strongest on top, each value of the kind that its setting takes.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) table: Table,
    origins: BTreeMap<String, Origin>,
}

impl Settings {
    pub(super) fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(&str, Option<String>)],
    ) -> Result<Settings, ConfigFault> {
        let keys = Keys::of_schema();
        let mut all = match file {
            Some(path) => Layer::of_file(&keys, "--config", path)?,
            None if Path::new(DEFAULT_FILE).is_file() => {
                Layer::of_file(&keys, "configuration", Path::new(DEFAULT_FILE))?
            }
            None => Layer::default(),
        };
        all.under(Layer::of_environment(&keys, environment)?);
        all.under(Layer::of_flags(&keys, flags)?);
        for (section, key) in SECRETS {
            all.resolve_secret(section, key)?;
        }
        let (mut table, mut origins) = (Table::new(), BTreeMap::new());
        for ((section, name), (value, origin)) in all.0 {
            origins.insert(format!("{section}.{name}"), origin);
            let section = table.entry(section);
            let section = section.or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                section.insert(name, value);
            }
        }
        Ok(Settings { table, origins })
    }

    /// A fault of the value of `key`, which says where it was given.
    pub(super) fn fault(&self, key: &str, detail: String) -> ConfigFault {
        let origin = self.origins.get(key).map(ToString::to_string);
        ConfigFault::Invalid {
            origin: origin.unwrap_or_else(|| "configuration".to_owned()),
            detail,
            hint: String::new(),
        }
    }
}

impl Layer {
    fn of_file(keys: &Keys, key: &str, path: &Path) -> Result<Layer, ConfigFault> {
        let table = parse(path, &text(key, path)?)?;
        let origin = Origin::File(path.to_owned());
        let mut layer = Layer::default();
        for (section, value) in table {
            let settings = match (value, keys.has_section(&section)) {
                (Value::Table(settings), true) => settings,
                (Value::Table(settings), false) => {
                    let name = settings.keys().next().map_or("", String::as_str);
                    return Err(unknown(keys, &origin, Some(&section), name));
                }
                (_, true) => {
                    let detail =
                        format!("{section}: found a value, expected a section of settings");
                    return Err(origin.fault(detail, format!("; write them below [{section}]")));
                }
                (_, false) => return Err(unknown(keys, &origin, None, &section)),
            };
            for (name, value) in settings {
                let key = keys.get(&section, &name);
                let key = key.ok_or_else(|| unknown(keys, &origin, Some(&section), &name))?;
                layer.give(key, value, origin.clone())?;
            }
        }
        Ok(layer)
    }

    fn of_environment(
        keys: &Keys,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Layer, ConfigFault> {
        let mut layer = Layer::default();
        for (variable, value) in environment {
            let Some(variable) = variable.to_str().filter(|name| name.starts_with(NEARLY)) else {
                continue;
            };
            let origin = Origin::Variable(variable.to_owned());
            let Some(path) = variable.strip_prefix(PREFIX) else {
                stray(keys, &origin, variable)?;
                continue;
            };
            let path = path.to_lowercase();
            let (section, name) = match path.split_once("__") {
                Some((section, name)) => (Some(section), name),
                None => (None, path.as_str()),
            };
            let key = keys.get(section.unwrap_or_default(), name);
            let key = key.ok_or_else(|| unknown(keys, &origin, section, name))?;
            let Some(value) = value.to_str() else {
                let detail = format!("{}: found bytes that are not UTF-8", key.full());
                return Err(origin.fault(detail, ", expected text".to_owned()));
            };
            layer.give(key, key.read(value), origin)?;
        }
        Ok(layer)
    }

    fn of_flags(keys: &Keys, flags: &[(&str, Option<String>)]) -> Result<Layer, ConfigFault> {
        let mut layer = Layer::default();
        for (path, value) in flags {
            let Some(value) = value else { continue };
            let (section, name) = path.split_once('.').unwrap_or(("", path));
            let key = keys.get(section, name);
            let key = key.ok_or_else(|| unknown(keys, &Origin::Flag, Some(section), name))?;
            layer.give(key, key.read(value), Origin::Flag)?;
        }
        Ok(layer)
    }

    /// Takes a value of the right kind that this layer does not give already.
    fn give(&mut self, key: &Key, value: Value, origin: Origin) -> Result<(), ConfigFault> {
        let name = (key.section.clone(), key.name.clone());
        if let Some((expected, mend)) = key.refuses(&value) {
            let found = found(&name, &value);
            let detail = format!("{}: found {found}, expected {expected}; {mend}", key.full());
            return Err(origin.fault(detail, String::new()));
        }
        for same in [Some(name.clone()), twin(&name)].into_iter().flatten() {
            if let Some((_, other)) = self.0.get(&same) {
                let mut given = [written(other, &same), written(&origin, &name)];
                given.sort();
                let [first, second] = given;
                return Err(ConfigFault::Twice { first, second });
            }
        }
        self.0.insert(name, (value, origin));
        Ok(())
    }

    /// Lays `upper` over this one. A secret given as text beats one given below as a file, and the other way
    /// round.
    fn under(&mut self, upper: Layer) {
        for (name, given) in upper.0 {
            if let Some(twin) = twin(&name) {
                self.0.remove(&twin);
            }
            self.0.insert(name, given);
        }
    }

    fn resolve_secret(&mut self, section: &str, key: &str) -> Result<(), ConfigFault> {
        let name = (section.to_owned(), format!("{key}_file"));
        let Some((Value::String(path), origin)) = self.0.remove(&name) else {
            return Ok(());
        };
        let path = PathBuf::from(path);
        let secret = text(&written(&origin, &name), &path)?.trim().to_owned();
        if secret.is_empty() {
            let detail = format!(
                "{section}.{key}_file: found an empty file {}, expected one that holds {section}.{key}",
                path.display()
            );
            return Err(origin.fault(detail, "; write it there".to_owned()));
        }
        let name = (section.to_owned(), key.to_owned());
        self.0
            .insert(name, (Value::String(secret), Origin::File(path)));
        Ok(())
    }
}

/// The other way to give a secret.
fn twin((section, name): &Name) -> Option<Name> {
    let (section, key) = SECRETS
        .into_iter()
        .find(|(of, key)| of == section && name.strip_suffix("_file").unwrap_or(name) == *key)?;
    let twin = if name == key {
        format!("{key}_file")
    } else {
        key.to_owned()
    };
    Some((section.to_owned(), twin))
}

/// A setting with its place, as a reader finds it there.
fn written(origin: &Origin, (section, name): &Name) -> String {
    match origin {
        Origin::Variable(variable) => variable.clone(),
        Origin::File(_) | Origin::Flag => format!("{section}.{name} ({origin})"),
    }
}

/// A value to show; a secret, and what is long, by its type.
fn found((section, name): &Name, value: &Value) -> String {
    if value.as_str().is_some_and(|text| text.trim().is_empty()) {
        return "an empty text".to_owned();
    }
    if value.is_array() || value.is_table() || SECRETS.contains(&(section, name)) {
        return format!("a value of type {}", value.type_str());
    }
    value.to_string()
}

fn unknown(keys: &Keys, origin: &Origin, section: Option<&str>, name: &str) -> ConfigFault {
    let (detail, there) = match section {
        Some(section) if keys.has_section(section) => (
            format!("there is no setting {section}.{name}"),
            format!("; {section} has {}", keys.list(Some(section))),
        ),
        None if keys.has_section(name) => {
            let detail = format!("{name} is a section, expected a setting in it");
            return origin.fault(detail, format!(", one of {}", keys.list(Some(name))));
        }
        section => (
            format!("there is no section {}", section.unwrap_or(name)),
            format!("; there are {}", keys.list(None)),
        ),
    };
    let near = keys.nearest(section, name);
    let hint = near.map(|key| format!("; did you mean {}?", origin.spelt(key)));
    origin.fault(detail, hint.unwrap_or(there))
}

/// Refuses a variable whose writer meant a setting and forgot an underscore. Others are not ours: Kubernetes
/// sets `INFERQ_SERVICE_HOST`, `INFERQ_PORT_9090_TCP` and more where a service is called `inferq`.
fn stray(keys: &Keys, origin: &Origin, variable: &str) -> Result<(), ConfigFault> {
    let rest = variable.strip_prefix(NEARLY).unwrap_or(variable);
    let meant = keys.meant(rest);
    if meant.is_none() && !rest.contains("__") {
        return Ok(());
    }
    let detail = format!(
        "no setting is called so; expected two underscores after INFERQ and between section and key, as in {PREFIX}SECTION__KEY"
    );
    let hint = meant.map(|key| format!("; did you mean {}?", origin.spelt(key)));
    Err(origin.fault(detail, hint.unwrap_or_default()))
}

fn text(key: &str, path: &Path) -> Result<String, ConfigFault> {
    let bytes = std::fs::read(path).map_err(|reason| ConfigFault::Unreadable {
        key: key.to_owned(),
        path: path.to_owned(),
        reason: reason.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|fault| {
        let before = fault.as_bytes().get(..fault.utf8_error().valid_up_to());
        ConfigFault::NotText {
            path: path.to_owned(),
            line: line(before.unwrap_or_default()),
        }
    })
}

fn parse(path: &Path, text: &str) -> Result<Table, ConfigFault> {
    text.parse().map_err(|error: toml::de::Error| {
        // The error's own text quotes the line, which may hold a secret.
        let before = error
            .span()
            .and_then(|span| text.as_bytes().get(..span.start));
        ConfigFault::Syntax {
            path: path.to_owned(),
            line: line(before.unwrap_or_default()),
            detail: error.message().to_owned(),
        }
    })
}

/// The number of the line that follows `before`.
fn line(before: &[u8]) -> usize {
    before.split(|byte| *byte == b'\n').count()
}
