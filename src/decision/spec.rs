//! `[outcome.…]` and `[[reject]]` of a manifest, as they are written: nothing checked yet.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::representation::Label;

/// How one field of the response is made: `[outcome.FIELD.KIND]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeSpec {
    /// One label.
    Class(ClassSpec),
    /// One number.
    Number(NumberSpec),
    /// All numbers of a row, as a flat array in row-major order.
    Vector(VectorSpec),
    /// The best labels with their scores.
    TopK(TopKSpec),
}

/// One label: the winner of a row of scores (`labels`), the interval that one score falls into
/// (`thresholds`), or what the model itself calls it (an integer or text output, `labels` optional).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassSpec {
    /// The ONNX output.
    pub output: String,
    /// With `thresholds`: which element of the row is the score. Without it: 0.
    pub index: Option<usize>,
    /// What the scores of a row stand for, in the output's order. For an integer output: what its numbers
    /// index. For a text output: the texts it may give.
    pub labels: Option<Vec<Label>>,
    /// Intervals of one score, lowest first.
    pub thresholds: Option<Vec<ThresholdSpec>>,
    /// Field of the response that gets the winning score, or with `thresholds` the score.
    pub score_field: Option<String>,
    /// When to say that the model is not sure.
    pub uncertain: Option<UncertainSpec>,
}

/// One interval of a score. It reaches up to the next one's `from`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThresholdSpec {
    /// Lowest score that gets the label. The first interval takes every lower score as well: leave its
    /// `from` out, or write 0.0.
    pub from: Option<Bound>,
    /// What such scores are called.
    pub label: Label,
}

/// A threshold: a number, or where to look it up.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Bound {
    /// The same for every request.
    Constant(f64),
    /// Depends on the request.
    Lookup(LookupSpec),
}

/// A threshold that the request decides about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupSpec {
    /// JSON pointer (RFC 6901) into the request, with `each` too: to the threshold itself, or with
    /// `values` to a text.
    pub pointer: String,
    /// Thresholds by the text at `pointer`.
    pub values: Option<BTreeMap<String, f64>>,
    /// The threshold when nothing stands at `pointer`, or a text that `values` does not know.
    pub default: f64,
}

/// A band of scores that are called by their own label. With `labels`: `below`. With `thresholds`: `from` and `to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UncertainSpec {
    /// What such scores are called.
    pub label: Label,
    /// Winning scores below this.
    pub below: Option<f64>,
    /// Lowest score of the band.
    pub from: Option<f64>,
    /// Lowest score above the band.
    pub to: Option<f64>,
}

/// One number: clip(exp?(raw · scale + offset)), rounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NumberSpec {
    /// The ONNX output.
    pub output: String,
    /// Which element of the row.
    #[serde(default)]
    pub index: usize,
    /// Factor.
    #[serde(default = "one")]
    pub scale: f64,
    /// Added after scaling.
    #[serde(default)]
    pub offset: f64,
    /// Whether e is raised to the power of it.
    #[serde(default)]
    pub exp: bool,
    /// Smallest and largest value.
    pub clip: Option<[f64; 2]>,
    /// Decimals to keep, up to 15; 0 gives an integer.
    pub round: Option<u8>,
}

fn one() -> f64 {
    1.0
}

/// All numbers of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VectorSpec {
    /// The ONNX output.
    pub output: String,
}

/// The best labels: `[{"label": …, "score": …}, …]`, best first; of equals the earlier in `labels` first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopKSpec {
    /// The ONNX output.
    pub output: String,
    /// How many.
    pub k: usize,
    /// What the scores of a row stand for, in the output's order.
    pub labels: Vec<Label>,
    /// How many of the best to leave out.
    #[serde(default)]
    pub skip: usize,
}

/// A rule that turns a row into the rejection `package:<code>`. Rules are tried in the order they are written in,
/// before any outcome is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectRule {
    /// The ONNX output.
    pub output: String,
    /// Which element of the row is compared.
    #[serde(default)]
    pub index: Pick,
    /// Rejects greater values. Exactly one of `above` and `below`.
    pub above: Option<f64>,
    /// Rejects smaller values.
    pub below: Option<f64>,
    /// Declared under `[rejection.<code>]`.
    pub code: String,
}

/// One element of a row: its index, or `"max"` or `"min"` of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what it names")]
pub enum Pick {
    Index(usize),
    Max,
    Min,
}

impl Default for Pick {
    fn default() -> Self {
        Pick::Index(0)
    }
}

impl Serialize for Pick {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Pick::Index(index) => index.serialize(serializer),
            Pick::Max => serializer.serialize_str("max"),
            Pick::Min => serializer.serialize_str("min"),
        }
    }
}

impl schemars::JsonSchema for Pick {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pick".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "One element of a row: its index, or \"max\" or \"min\" of the row.",
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "enum": ["max", "min"] }],
        })
    }
}

// `Pick` and `Bound` read themselves by a visitor and not as `untagged`, which would forget what was
// found and where.
impl<'de> Deserialize<'de> for Pick {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Pick;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an index from 0, \"max\" or \"min\"")
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Pick, E> {
                usize::try_from(v)
                    .map(Pick::Index)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(v), &self))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Pick, E> {
                usize::try_from(v)
                    .map(Pick::Index)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(v), &self))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Pick, E> {
                match v {
                    "max" => Ok(Pick::Max),
                    "min" => Ok(Pick::Min),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Bound;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or { pointer = …, default = … }")
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Bound, E> {
                Ok(Bound::Constant(v))
            }
            #[expect(clippy::cast_precision_loss, reason = "as serde reads any f64")]
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Bound, E> {
                Ok(Bound::Constant(v as f64))
            }
            #[expect(clippy::cast_precision_loss, reason = "as serde reads any f64")]
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Bound, E> {
                Ok(Bound::Constant(v as f64))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Bound, A::Error> {
                LookupSpec::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(Bound::Lookup)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
