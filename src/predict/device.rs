//! Where sessions run.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// One place to run at: `cpu`, `cuda:0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceId {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by the driver's number of it.
    Cuda(usize),
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceId::Cpu => f.write_str("cpu"),
            DeviceId::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for DeviceId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse().ok().map(DeviceId::Cuda);
        match text.split_once(':') {
            None if text == "cpu" => Ok(DeviceId::Cpu),
            Some(("cuda", ordinal)) => number(ordinal).ok_or("expected a number behind cuda:"),
            None | Some(_) => Err("expected cpu or cuda:N"),
        }
    }
}

/// Where the sessions of a package run: one place, or several GPUs of one kind that share its queue. `cpu`, `cuda:0`,
/// `cuda:0+cuda:1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Devices {
    first: DeviceId,
    others: Arc<[DeviceId]>,
}

impl Devices {
    /// These, of which there may be several GPUs, each once.
    fn new(devices: &[DeviceId]) -> Result<Devices, &'static str> {
        let Some((first, others)) = devices.split_first() else {
            return Err("expected cpu or cuda:N");
        };
        if devices.len() > 1 && devices.contains(&DeviceId::Cpu) {
            return Err("expected GPUs alone, where there are several devices");
        }
        let again = |place| {
            devices
                .iter()
                .take(place)
                .any(|id| Some(id) == devices.get(place))
        };
        if (1..devices.len()).any(again) {
            return Err("expected each device once");
        }
        Ok(Devices {
            first: *first,
            others: others.into(),
        })
    }

    /// The one that stands for all.
    #[must_use]
    pub fn first(&self) -> DeviceId {
        self.first
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = DeviceId> + Clone {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

impl From<DeviceId> for Devices {
    fn from(first: DeviceId) -> Devices {
        let others = Arc::default();
        Devices { first, others }
    }
}

impl Default for Devices {
    fn default() -> Devices {
        DeviceId::default().into()
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        self.others
            .iter()
            .try_for_each(|other| write!(f, "+{other}"))
    }
}

impl FromStr for Devices {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let each: Result<Vec<_>, _> = text.split('+').map(str::parse).collect();
        Devices::new(&each?)
    }
}

/// Where an operator wants sessions to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// On a GPU where one can be had, else on the processor.
    #[default]
    Auto,
    /// There, or not at all.
    Only(Devices),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Only(devices) => devices.fmt(f),
        }
    }
}

impl Serialize for DeviceChoice {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// As it is written: a word, or a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for DeviceChoice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (text, written) = match Written::deserialize(from)? {
            Written::Word(word) => (word.clone(), format!("{word:?}")),
            Written::List(words) => (words.join("+"), format!("{words:?}")),
        };
        if text == "auto" {
            return Ok(DeviceChoice::Auto);
        }
        text.parse().map(DeviceChoice::Only).map_err(|why: &str| {
            D::Error::custom(format_args!(
                "found {written}, {why}; write auto, cpu, cuda:0 for the first GPU that nvidia-smi lists, or cuda:0+cuda:1 for the first two"
            ))
        })
    }
}

impl JsonSchema for DeviceChoice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DeviceChoice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        const GPUS: &str = r"cuda:[0-9]{1,3}";
        json_schema!({
            "type": ["string", "array"],
            "pattern": format!(r"^(auto|cpu|{GPUS}(\+{GPUS})*)$"),
            "items": { "type": "string", "pattern": format!("^{GPUS}$") },
            "minItems": 1,
            "uniqueItems": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_as_it_is_written() {
        for device in [DeviceId::Cpu, DeviceId::Cuda(0), DeviceId::Cuda(13)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for text in ["", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:0:1", "CPU"] {
            assert!(text.parse::<DeviceId>().is_err(), "{text}");
        }
        for text in ["cpu", "cuda:3", "cuda:1+cuda:0+cuda:7"] {
            let devices: Devices = text.parse().unwrap();
            assert_eq!(devices.to_string(), text);
        }
        for text in [
            "",
            "+",
            "cuda:0+",
            "cuda:0+cpu",
            "cuda:1+cuda:0+cuda:1",
            "auto+cuda:0",
        ] {
            assert!(text.parse::<Devices>().is_err(), "{text}");
        }
    }
}
