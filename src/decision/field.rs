//! Kinds `number`, `vector` and `top_k`.

use serde_json::{Value, json};

use super::{
    class::check_len,
    source::{self, Scores, Source},
};
use crate::{
    fault::Fault,
    representation::Label,
    tensor::{RowOutputs, RowValues},
};

/// A field that is one number: clip(exp?(raw · scale + offset)), rounded.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) source: Source,
    pub(super) index: usize,
    pub(super) scale: f64,
    pub(super) offset: f64,
    pub(super) exp: bool,
    pub(super) clip: Option<[f64; 2]>,
    pub(super) round: Option<u8>,
    /// Whether the model's number is taken as it is.
    pub(super) plain: bool,
}

/// A field that lists the best labels.
#[derive(Clone, Debug)]
pub(super) struct TopK {
    pub(super) source: Source,
    pub(super) k: usize,
    pub(super) skip: usize,
    pub(super) labels: Vec<Label>,
}

impl Number {
    pub(super) fn decide(&self, row: &RowOutputs) -> Result<Value, Fault> {
        let scores = self.source.read(row)?;
        if self.plain
            && let RowValues::Int(ints) = scores.values()
            && let Some(n) = ints.get(self.index)
        {
            return Ok((*n).into());
        }
        let mut x = scores.at(self.index)? * self.scale + self.offset;
        if self.exp {
            x = x.exp();
        }
        if let Some([least, greatest]) = self.clip {
            x = x.max(least).min(greatest);
        }
        self.rounded(x)
            .ok_or_else(|| scores.fault("the number made of it is not finite"))
    }

    fn rounded(&self, x: f64) -> Option<Value> {
        let Some(decimals) = self.round else {
            return source::json(x);
        };
        let factor = 10_f64.powi(decimals.into());
        let scaled = (x * factor).round();
        // Beyond 2^53 a double has no decimals to round.
        if decimals == 0
            && scaled.abs() < 9_007_199_254_740_992.0
            && let Ok(whole) = format!("{scaled:.0}").parse::<i64>()
        {
            return Some(whole.into());
        }
        let rounded = scaled / factor;
        source::json(if rounded.is_finite() { rounded } else { x })
    }
}

impl TopK {
    pub(super) fn decide(&self, row: &RowOutputs) -> Result<Value, Fault> {
        let scores = self.source.read(row)?;
        check_len(&scores, self.labels.len())?;
        let ranked = scores.ranked()?;
        let best = ranked.into_iter().skip(self.skip).take(self.k);
        best.map(|i| {
            let label = self.labels.get(i).map(Value::from);
            Ok(json!({ "label": label, "score": number(&scores, i)? }))
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
    }
}

/// All numbers of a row.
pub(super) fn vector(source: &Source, row: &RowOutputs) -> Result<Value, Fault> {
    let scores = source.read(row)?;
    (0..scores.len())
        .map(|i| number(&scores, i))
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
}

fn number(scores: &Scores<'_>, i: usize) -> Result<Value, Fault> {
    if let RowValues::Int(ints) = scores.values()
        && let Some(n) = ints.get(i)
    {
        return Ok((*n).into());
    }
    let x = scores.at(i)?;
    source::json(x).ok_or_else(|| scores.fault(format_args!("element {i} is not finite")))
}
