//! `[input.…]` of a manifest, as it is written: shapes and names only, nothing checked yet.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::tensor::Dtype;

/// How one model input is made from the request: `[input.NAME]`. Exactly one of `columns`, `sequence`, `mask` and
/// `image`; with `sequence`, `columns` say what each step is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Element type; where given, it must agree with the model's.
    pub dtype: Option<Dtype>,
    /// One value, or one group of values, for each place in the request.
    pub columns: Option<Vec<ColumnSpec>>,
    /// As many steps as an array of the request has elements, each made of `columns`, which start at the element.
    /// Without columns the element is the step's number.
    pub sequence: Option<SequenceSpec>,
    /// 1 for each step that the row's sequences have, 0 behind them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mask: bool,
    /// The whole input is one picture.
    pub image: Option<ImageSpec>,
}

/// Where an input's steps are. What rows lack of the longest among those that run together is zeros.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SequenceSpec {
    /// JSON pointer to an array, of one element at least: `/tokens`. All sequences of a row have the same number.
    pub pointer: String,
    /// The most elements; a request with more is `unrepresentable`. The same for all sequences of a package.
    #[schemars(range(min = 1))]
    pub longest: usize,
}

/// One column, or several where it is one-hot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnSpec {
    /// JSON pointer (RFC 6901) to the value: `/sender/age`.
    pub pointer: String,
    /// What the pointers of this column start from; matters only with `each`.
    #[serde(default)]
    pub from: Origin,
    /// What happens when the value is not there or is null.
    #[serde(default)]
    pub on_missing: OnMissing,
    /// Stands in for a missing value, before categories and transform; needs `on_missing = "default"`.
    pub default: Option<Scalar>,
    /// The values that are known, in the order that the model learned them.
    pub categories: Option<Vec<Label>>,
    /// How a category becomes numbers. Without it: `index`.
    pub encode: Option<Encode>,
    /// What happens to a value that is no category. Without it: `reject`.
    pub unknown: Option<Unknown>,
    /// What is computed from the value.
    pub transform: Option<Transform>,
}

/// Where a pointer starts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// At the element of `each`; without `each` that is the request.
    #[default]
    Element,
    /// At the request.
    Request,
}

/// What a missing or null value gets.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// The request is `unrepresentable`.
    #[default]
    Reject,
    /// The column's `default` is used.
    Default,
}

/// How a category becomes numbers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Encode {
    /// One number: its place in the list, from 0.
    #[default]
    Index,
    /// As many numbers as there are categories: 1 at its place, 0 elsewhere.
    OneHot,
}

/// What a value that is no category gets.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// The request is `unrepresentable`.
    #[default]
    Reject,
    /// One-hot: all zeros. Index: -1.
    Zero,
}

/// What is computed from a column's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Transform {
    /// ln(1 + x) of a number above -1.
    Log1p,
    /// Hour of an RFC 3339 time, in UTC: 0 to 23.
    Hour,
    /// Day of the week of an RFC 3339 time, in UTC: 0 is Monday, 6 is Sunday.
    Weekday,
    /// 1 when the value equals another of the request, else 0.
    SameAs {
        /// JSON pointer to the other value; starts where the column's pointer does.
        other: String,
    },
    /// 1 when two IP addresses share their first `prefix` bits, else 0; 0 as well for IPv4 against IPv6.
    SameNetwork {
        /// JSON pointer to the other address; starts where the column's pointer does.
        other: String,
        /// Number of leading bits: up to 32 for IPv4, 128 for IPv6.
        prefix: u8,
    },
}

/// An input made from one picture: PNG, JPEG or WebP, told apart by content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// JSON pointer to the picture as base64 text. Not needed when requests are always raw pictures.
    pub pointer: Option<String>,
    /// Width of the model's input in pixels.
    pub width: u32,
    /// Height of the model's input in pixels.
    pub height: u32,
    /// Channels of the model's input.
    pub color: Color,
    /// How the picture is brought to `width` × `height`.
    #[serde(default)]
    pub resampler: Resampler,
    /// What shines through transparent pixels.
    #[serde(default)]
    pub background: Background,
    /// value = (pixel · scale − mean) / std, with pixels from 0 to 255. Without it: 1.
    pub scale: Option<f32>,
    /// One for each channel. Without it: 0.
    pub mean: Option<Vec<f32>>,
    /// One for each channel. Without it: 1.
    pub std: Option<Vec<f32>>,
    /// Order of the axes.
    #[serde(default)]
    pub layout: Layout,
    /// Larger pictures are refused before they are decoded.
    #[serde(default = "default_max_pixels")]
    pub max_pixels: u64,
    /// Refuses pictures below a size.
    pub too_small: Option<TooSmall>,
    /// Refuses pictures without content.
    pub blank: Option<Blank>,
}

fn default_max_pixels() -> u64 {
    16_777_216
}

/// Channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Color {
    /// One: luma by ITU-R 601, as Pillow's `convert("L")`.
    Grey,
    /// Three.
    Rgb,
}

/// Resampling filter, antialiased as Pillow's are and within 1/255 of them. Pillow 12 and 13 resize some
/// shapes height first, where bicubic and lanczos differ by more on busy pictures.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is the filter it names")]
pub enum Resampler {
    Nearest,
    #[default]
    Bilinear,
    Bicubic,
    Lanczos,
}

/// What shines through transparent pixels.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is the colour it names")]
pub enum Background {
    Black,
    #[default]
    White,
}

/// Order of a picture's axes in a row.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `[channels, height, width]`.
    #[default]
    Nchw,
    /// `[height, width, channels]`.
    Nhwc,
    /// `[height · width · channels]`, in the order of `nhwc`.
    Flat,
}

/// Pictures narrower or lower than this are rejected `package:<code>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TooSmall {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Declared under `[rejection.<code>]`.
    pub code: String,
}

/// Pictures whose resized 8-bit pixels span less than `spread` from darkest to brightest are rejected `package:<code>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blank {
    /// 1 to 255.
    pub spread: u8,
    /// Declared under `[rejection.<code>]`.
    pub code: String,
}

/// A code of the package's own: `[rejection.<code>]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectionSpec {
    /// What the requester reads as the rejection's detail.
    pub title: String,
    /// Whether the same request may be answered otherwise later.
    #[serde(default)]
    pub retryable: bool,
}

/// A class or category, as the package's owner names it: text or an integer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each is the type it names")]
pub enum Label {
    Int(i64),
    Text(String),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Int(n) => write!(f, "{n}"),
            Label::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl From<&Label> for serde_json::Value {
    fn from(label: &Label) -> Self {
        match label {
            Label::Int(n) => (*n).into(),
            Label::Text(text) => text.as_str().into(),
        }
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::read(deserializer, "text or an integer")? {
            Scalar::Int(n) => Ok(Label::Int(n)),
            Scalar::Text(text) => Ok(Label::Text(text)),
            Scalar::Bool(b) => Err(unexpected(de::Unexpected::Bool(b))),
            Scalar::Float(x) => Err(unexpected(de::Unexpected::Float(x))),
        }
    }
}

fn unexpected<E: de::Error>(found: de::Unexpected<'_>) -> E {
    E::invalid_type(found, &"text or an integer")
}

/// A single JSON value that is neither null, array nor object.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each is the type it names")]
pub enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Scalar {
    // By a visitor and not `untagged`, which would forget what was found and where.
    fn read<'de, D: Deserializer<'de>>(
        deserializer: D,
        expected: &'static str,
    ) -> Result<Self, D::Error> {
        struct Visitor(&'static str);
        impl de::Visitor<'_> for Visitor {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
            fn visit_bool<E: de::Error>(self, v: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(v))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Scalar, E> {
                Ok(Scalar::Int(v))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Scalar, E> {
                i64::try_from(v)
                    .map(Scalar::Int)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(v), &"a 64-bit integer"))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Scalar, E> {
                Ok(Scalar::Float(v))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(v.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor(expected))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Scalar::read(deserializer, "a number, text, true or false")
    }
}
