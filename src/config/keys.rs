//! Which settings there are and what each takes, as the schema tells.

use serde_json::Value as Schema;
use toml::Value;

use super::Config;

/// One setting.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) section: String,
    pub(super) name: String,
    kind: Kind,
}

/// What a setting takes.
#[derive(Debug)]
enum Kind {
    Text,
    /// One, or a list of them.
    Texts,
    OneOf(Vec<String>),
    Whole {
        low: i64,
        high: i64,
    },
    Wholes {
        low: i64,
        high: i64,
        most: usize,
    },
}

/// All settings, in the schema's order.
#[derive(Debug)]
pub(super) struct Keys(Vec<Key>);

impl Keys {
    pub(super) fn of_schema() -> Keys {
        let schema = Config::schema();
        let mut keys = Vec::new();
        for (section, schema) in properties(&schema) {
            for (name, schema) in properties(schema) {
                keys.push(Key {
                    section: section.clone(),
                    name: name.clone(),
                    kind: Kind::of(schema),
                });
            }
        }
        Keys(keys)
    }

    pub(super) fn get(&self, section: &str, name: &str) -> Option<&Key> {
        let same = |key: &&Key| key.section == section && key.name == name;
        self.0.iter().find(same)
    }

    pub(super) fn has_section(&self, section: &str) -> bool {
        self.0.iter().any(|key| key.section == section)
    }

    /// What there is instead of `section.name`, or of `name` alone.
    pub(super) fn nearest(&self, section: Option<&str>, name: &str) -> Option<&Key> {
        let distance = |key: &Key| {
            let moved = strsim::damerau_levenshtein(&key.name, name);
            let Some(section) = section else { return moved };
            let full = format!("{section}.{name}");
            let mistyped = strsim::damerau_levenshtein(&key.full(), &full);
            // The right name in another section is one mistake.
            mistyped.min(moved + 1)
        };
        let near = self.0.iter().map(|key| (distance(key), key));
        let (distance, key) = near.min_by_key(|(distance, _)| *distance)?;
        (distance <= (name.len() / 3).clamp(1, 4)).then_some(key)
    }

    /// The setting that a variable means which has one underscore where two belong.
    pub(super) fn meant(&self, variable: &str) -> Option<&Key> {
        let variable = variable.to_lowercase().replace("__", "_");
        let mut keys = self.0.iter();
        keys.find(|key| variable == key.name || variable == format!("{}_{}", key.section, key.name))
    }

    /// The sections, or the settings of `section`, as a list to read.
    pub(super) fn list(&self, section: Option<&str>) -> String {
        let mut names: Vec<&str> = match section {
            None => self.0.iter().map(|key| key.section.as_str()).collect(),
            Some(section) => {
                let inside = self.0.iter().filter(|key| key.section == section);
                inside.map(|key| key.name.as_str()).collect()
            }
        };
        names.dedup();
        names.join(", ")
    }
}

fn properties(schema: &Schema) -> impl Iterator<Item = (&String, &Schema)> {
    let properties = schema.get("properties").and_then(Schema::as_object);
    properties.into_iter().flatten()
}

impl Key {
    pub(super) fn full(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Text from outside TOML, as what this setting takes where it can be read so.
    pub(super) fn read(&self, text: &str) -> Value {
        match self.kind {
            Kind::Whole { .. } => text.trim().parse().ok().map(Value::Integer),
            Kind::Wholes { .. } => {
                let numbers = text.trim().trim_start_matches('[').trim_end_matches(']');
                let each = numbers.split(',').map(str::trim).filter(|n| !n.is_empty());
                let parsed: Result<Vec<i64>, _> = each.map(str::parse).collect();
                parsed
                    .ok()
                    .map(|numbers| Value::Array(numbers.into_iter().map(Value::Integer).collect()))
            }
            Kind::Text | Kind::Texts | Kind::OneOf(_) => None,
        }
        .unwrap_or_else(|| Value::String(text.to_owned()))
    }

    /// What is wrong with a value of this setting, if anything: what it should be, and how to mend it.
    pub(super) fn refuses(&self, value: &Value) -> Option<(String, &'static str)> {
        match (&self.kind, value) {
            (Kind::Texts, Value::Array(all)) if all.iter().all(Value::is_str) => None,
            (Kind::Text | Kind::Texts, Value::String(text)) if !text.trim().is_empty() => None,
            (Kind::Text | Kind::Texts, Value::String(_)) => Some((
                "some text".to_owned(),
                "write it, or leave the setting out for its default",
            )),
            (Kind::Text, _) => Some(("text".to_owned(), "put it in quotes")),
            (Kind::Texts, _) => Some((
                "text, or a list of texts".to_owned(),
                "put it, or each, in quotes",
            )),
            (Kind::OneOf(choices), Value::String(text)) if choices.contains(text) => None,
            (Kind::OneOf(choices), _) => Some((choices.join(" or "), "choose one of them")),
            (Kind::Whole { low, high }, Value::Integer(number))
                if (low..=high).contains(&number) =>
            {
                None
            }
            (Kind::Whole { low, high }, Value::Integer(_)) => {
                Some((format!("{low} to {high}"), "choose a value in this range"))
            }
            (Kind::Whole { low, high }, _) => Some((
                format!("a whole number from {low} to {high}"),
                "write it in digits, without quotes",
            )),
            (Kind::Wholes { low, high, most }, value) => {
                let within = |value: &Value| {
                    let number = value.as_integer();
                    number.is_some_and(|number| (low..=high).contains(&&number))
                };
                let numbers = value.as_array().filter(|all| all.len() <= *most);
                let fit = numbers.is_some_and(|all| all.iter().all(within));
                (!fit).then(|| {
                    (
                        format!("at most {most} whole numbers from {low} to {high}"),
                        "write them as [1000, 5000]",
                    )
                })
            }
        }
    }
}

impl Kind {
    fn of(schema: &Schema) -> Kind {
        let number = |schema: &Schema, bound| schema.get(bound).and_then(Schema::as_i64);
        let range = |schema: &Schema| {
            (
                number(schema, "minimum").unwrap_or(i64::MIN),
                number(schema, "maximum").unwrap_or(i64::MAX),
            )
        };
        match (
            schema.get("type").and_then(Schema::as_str),
            schema.get("items"),
        ) {
            (Some("integer"), _) => {
                let (low, high) = range(schema);
                return Kind::Whole { low, high };
            }
            (Some("array"), Some(items)) => {
                let (low, high) = range(items);
                let most = number(schema, "maxItems").and_then(|most| usize::try_from(most).ok());
                let most = most.unwrap_or(usize::MAX);
                return Kind::Wholes { low, high, most };
            }
            _ => {}
        }
        match schema.get("oneOf").and_then(Schema::as_array) {
            None if schema.get("items").is_some() => Kind::Texts,
            None => Kind::Text,
            Some(choices) => {
                let texts = choices
                    .iter()
                    .filter_map(|choice| choice.get("const")?.as_str());
                Kind::OneOf(texts.map(str::to_owned).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_fits_what_the_schema_says_of_its_setting() {
        let keys = Keys::of_schema();
        let defaults: toml::Table = Config::default().print().unwrap().parse().unwrap();
        for (section, settings) in defaults {
            for (name, value) in settings.as_table().unwrap() {
                let key = keys.get(&section, name).unwrap();
                assert_eq!(key.refuses(value), None, "{section}.{name}");
            }
        }
    }

    #[test]
    fn a_list_of_numbers_is_read_with_and_without_its_brackets() {
        let keys = Keys::of_schema();
        let key = keys.get("intake", "retry_delays_ms").unwrap();
        for (text, fits) in [
            ("[100, 2000]", true),
            ("3000", true),
            ("[]", true),
            ("1,x", false),
            ("0", false),
        ] {
            assert_eq!(key.refuses(&key.read(text)).is_none(), fits, "{text}");
        }
    }

    #[test]
    fn a_mistyped_or_misplaced_setting_has_a_neighbour_and_nonsense_has_none() {
        let keys = Keys::of_schema();
        let near = |section, name| keys.nearest(section, name).map(Key::full);
        assert_eq!(
            near(Some("repositroy"), "dir").as_deref(),
            Some("repository.dir")
        );
        assert_eq!(
            near(Some("intake"), "retry_delay_ms").as_deref(),
            Some("intake.retry_delays_ms")
        );
        assert_eq!(
            near(Some("intake"), "prefetch").as_deref(),
            Some("broker.prefetch")
        );
        assert_eq!(near(None, "prefetch").as_deref(), Some("broker.prefetch"));
        assert_eq!(near(Some("broker"), "colour"), None);
    }
}
