//! Where sessions run.

use std::{borrow::Cow, fmt, str::FromStr};

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

/// Where an operator wants sessions to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// On a GPU where one can be had, else on the processor.
    #[default]
    Auto,
    /// There, or not at all.
    Only(DeviceId),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Only(device) => device.fmt(f),
        }
    }
}

impl Serialize for DeviceChoice {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceChoice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "auto" {
            return Ok(DeviceChoice::Auto);
        }
        text.parse().map(DeviceChoice::Only).map_err(|_| {
            D::Error::custom(format_args!(
                "found {text:?}, expected auto, cpu or cuda:N; write cuda:0 for the first GPU that nvidia-smi lists"
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
        json_schema!({ "type": "string", "pattern": "^(auto|cpu|cuda:[0-9]{1,3})$" })
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
    }
}
