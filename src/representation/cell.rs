//! One number on its way into a row's bytes: exact for integers, finite for floats.

use half::f16;
use serde_json::Number;

use crate::{
    message::document::{Kind, Node},
    tensor::Dtype,
};

/// A number before it has the model's type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    Int(i64),
    Float(f64),
}

impl Cell {
    /// A JSON number, or a boolean as 1 and 0.
    pub(super) fn of(value: Node<'_>) -> Option<Self> {
        match value.kind() {
            Kind::Number(number) => Self::of_number(number),
            Kind::Bool(truth) => Some(Cell::Int(truth.into())),
            Kind::Null | Kind::Text(_) | Kind::Array(_) | Kind::Object(_) => None,
        }
    }

    fn of_number(number: &Number) -> Option<Self> {
        number
            .as_i64()
            .map(Cell::Int)
            .or_else(|| number.as_f64().map(Cell::Float))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "floats are rounded, as NumPy does"
    )]
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Cell::Int(n) => n as f64,
            Cell::Float(x) => x,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range is checked before"
    )]
    pub(super) fn as_i64(self) -> Option<i64> {
        // 2^63 is a double and i64::MAX is not.
        const END: f64 = 9_223_372_036_854_775_808.0;
        match self {
            Cell::Int(n) => Some(n),
            Cell::Float(x) => (x.fract() == 0.0 && (-END..END).contains(&x)).then_some(x as i64),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "floats are rounded once, as NumPy does"
    )]
    fn as_f32(self) -> f32 {
        match self {
            Cell::Int(n) => n as f32,
            Cell::Float(x) => x as f32,
        }
    }

    /// Writes it into the bytes of one element; `None` when `dtype` cannot hold it.
    pub(super) fn store(self, dtype: Dtype, out: &mut [u8]) -> Option<()> {
        match dtype {
            Dtype::Float16 => put(
                out,
                Some(f16::from_f64(self.as_f64()))
                    .filter(|x| x.is_finite())?
                    .to_ne_bytes(),
            ),
            Dtype::Float32 => put(out, finite(self.as_f32())?.to_ne_bytes()),
            Dtype::Float64 => put(
                out,
                Some(self.as_f64()).filter(|x| x.is_finite())?.to_ne_bytes(),
            ),
            Dtype::Int64 => put(out, self.as_i64()?.to_ne_bytes()),
            Dtype::Int32 => put(out, i32::try_from(self.as_i64()?).ok()?.to_ne_bytes()),
            Dtype::Int8 => put(out, i8::try_from(self.as_i64()?).ok()?.to_ne_bytes()),
            Dtype::Uint8 => put(out, u8::try_from(self.as_i64()?).ok()?.to_ne_bytes()),
            Dtype::Bool => put(
                out,
                [u8::try_from(self.as_i64()?).ok().filter(|n| *n <= 1)?],
            ),
            Dtype::String => None,
        }
    }

    /// Whether `dtype` can hold it.
    pub(super) fn fits(self, dtype: Dtype) -> bool {
        let mut element = [0; 8];
        element
            .get_mut(..dtype.size())
            .and_then(|out| self.store(dtype, out))
            .is_some()
    }
}

fn finite(x: f32) -> Option<f32> {
    x.is_finite().then_some(x)
}

fn put<const N: usize>(out: &mut [u8], bytes: [u8; N]) -> Option<()> {
    *out.first_chunk_mut()? = bytes;
    Some(())
}

/// What a column of this type takes, in words.
pub(super) fn range(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Float16 => "a number between -65504 and 65504",
        Dtype::Float32 => "a number between -3.4e38 and 3.4e38",
        Dtype::Float64 => "a number",
        Dtype::Int64 => "a whole number between -2^63 and 2^63 - 1",
        Dtype::Int32 => "a whole number between -2147483648 and 2147483647",
        Dtype::Int8 => "a whole number between -128 and 127",
        Dtype::Uint8 => "a whole number between 0 and 255",
        Dtype::Bool => "true, false, 1 or 0",
        Dtype::String => "text",
    }
}
