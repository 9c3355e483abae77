//! Reading a row of a model's output: whatever is read is there, is a number, and is finite, or the model is at fault.

use serde_json::{Number, Value};

use crate::{
    fault::{Fault, SpecFault},
    message::rejection::Stage,
    representation::nearest::{advice, listed},
    tensor::{Dtype, Port, RowOutputs, RowValues},
};

/// One ONNX output that a decision reads.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) output: String,
    pub(super) dtype: Dtype,
    /// Elements of a row; `None` where the graph leaves an axis open.
    pub(super) elements: Option<usize>,
}

impl Source {
    /// The output `name`, which stands at `key.output` of the manifest.
    pub(super) fn find(
        name: &str,
        key: &str,
        outputs: &[Port],
        faults: &mut Vec<SpecFault>,
    ) -> Option<Self> {
        let Some(port) = outputs.iter().find(|port| port.name == name) else {
            let known = || outputs.iter().map(|port| port.name.as_str());
            faults.push(SpecFault::new(
                format!("{key}.output"),
                format!("{name:?}"),
                format!("one of the model's outputs: {}", listed(known())),
                advice(name, known(), "write the name of an output of the model"),
            ));
            return None;
        };
        Some(Source {
            output: port.name.clone(),
            dtype: port.dtype,
            elements: port
                .row_shape
                .iter()
                .try_fold(1_usize, |n, axis| n.checked_mul((*axis)?)),
        })
    }

    /// As [`Source::find`], of an output that holds numbers.
    pub(super) fn find_numbers(
        name: &str,
        key: &str,
        outputs: &[Port],
        faults: &mut Vec<SpecFault>,
    ) -> Option<Self> {
        let source = Self::find(name, key, outputs, faults)?;
        if source.dtype == Dtype::String {
            faults.push(SpecFault::new(
                format!("{key}.output"),
                format!("{name:?}, which holds text"),
                "an output of numbers",
                "name the output with the scores; text is only for kind class",
            ));
            return None;
        }
        Some(source)
    }

    /// Checks that `index`, which stands at `key`, lies in a row.
    pub(super) fn check_index(&self, index: usize, key: String, faults: &mut Vec<SpecFault>) {
        if let Some(elements) = self.elements.filter(|elements| index >= *elements) {
            faults.push(SpecFault::new(
                key,
                index.to_string(),
                format!(
                    "less than {elements}, the elements of a row of {:?}",
                    self.output
                ),
                "count from 0",
            ));
        }
    }

    /// This output's share of `row`.
    pub(super) fn read<'r>(&'r self, row: &'r RowOutputs) -> Result<Scores<'r>, Fault> {
        match row.get(&self.output) {
            Some(values) => Ok(Scores {
                source: self,
                row: row.row,
                values,
            }),
            None => Err(Fault::model(
                Stage::Decide,
                format!("output {:?} has no row {}", self.output, row.row),
            )),
        }
    }
}

/// One row of one output.
pub(super) struct Scores<'r> {
    source: &'r Source,
    row: usize,
    values: RowValues<'r>,
}

impl<'r> Scores<'r> {
    pub(super) fn values(&self) -> RowValues<'r> {
        self.values
    }

    pub(super) fn len(&self) -> usize {
        match self.values {
            RowValues::Float(v) => v.len(),
            RowValues::Double(v) => v.len(),
            RowValues::Int(v) => v.len(),
            RowValues::Text(v) => v.len(),
        }
    }

    /// The model's fault; `what` is wrong with this row.
    pub(super) fn fault(&self, what: impl std::fmt::Display) -> Fault {
        let detail = format!("output {:?}, row {}: {what}", self.source.output, self.row);
        Fault::model(Stage::Decide, detail)
    }

    /// Element `i`, as it prints: an f32 as the shortest decimal that names it.
    pub(super) fn at(&self, i: usize) -> Result<f64, Fault> {
        match self.values {
            RowValues::Float(v) => v.get(i).map(|x| shortest(*x)),
            RowValues::Double(_) | RowValues::Int(_) | RowValues::Text(_) => self.raw(i),
        }
        .filter(|x| x.is_finite())
        .ok_or_else(|| self.unusable(i))
    }

    /// The index of the first of the greatest elements; every element is looked at.
    pub(super) fn best(&self) -> Result<usize, Fault> {
        self.extreme(|candidate, best| candidate > best)
    }

    /// The index of the first of the smallest elements; every element is looked at.
    pub(super) fn worst(&self) -> Result<usize, Fault> {
        self.extreme(|candidate, best| candidate < best)
    }

    /// All indices, best score first, of equals the lower index first.
    pub(super) fn ranked(&self) -> Result<Vec<usize>, Fault> {
        let scores = (0..self.len())
            .map(|i| self.finite(i))
            .collect::<Result<Vec<_>, _>>()?;
        let mut ranked: Vec<_> = scores.into_iter().enumerate().collect();
        // Adding 0.0 makes -0.0 and 0.0 equals.
        ranked.sort_by(|(_, a), (_, b)| (b + 0.0).total_cmp(&(a + 0.0)));
        Ok(ranked.into_iter().map(|(i, _)| i).collect())
    }

    fn extreme(&self, better: impl Fn(f64, f64) -> bool) -> Result<usize, Fault> {
        let mut best = (0, self.finite(0)?);
        for i in 1..self.len() {
            let candidate = self.finite(i)?;
            if better(candidate, best.1) {
                best = (i, candidate);
            }
        }
        Ok(best.0)
    }

    fn finite(&self, i: usize) -> Result<f64, Fault> {
        self.raw(i)
            .filter(|x| x.is_finite())
            .ok_or_else(|| self.unusable(i))
    }

    #[expect(clippy::cast_precision_loss, reason = "scores are floats")]
    fn raw(&self, i: usize) -> Option<f64> {
        match self.values {
            RowValues::Float(v) => v.get(i).map(|x| f64::from(*x)),
            RowValues::Double(v) => v.get(i).copied(),
            RowValues::Int(v) => v.get(i).map(|n| *n as f64),
            RowValues::Text(_) => None,
        }
    }

    fn unusable(&self, i: usize) -> Fault {
        match self.raw(i) {
            Some(_) => self.fault(format_args!("element {i} is not finite")),
            None => self.fault(format_args!("element {i} is missing or no number")),
        }
    }
}

/// The double nearest to the shortest decimal that names `x`, so that 0.97 prints as 0.97. Thresholds are
/// compared with it too: what is printed is what was compared.
pub(super) fn shortest(x: f32) -> f64 {
    struct Digits {
        text: [u8; 24],
        len: usize,
    }
    impl std::fmt::Write for Digits {
        fn write_str(&mut self, s: &str) -> std::fmt::Result {
            let end = self.len + s.len();
            let place = self.text.get_mut(self.len..end).ok_or(std::fmt::Error)?;
            place.copy_from_slice(s.as_bytes());
            self.len = end;
            Ok(())
        }
    }
    let mut digits = Digits {
        text: [0; 24],
        len: 0,
    };
    std::fmt::Write::write_fmt(&mut digits, format_args!("{x:e}"))
        .ok()
        .and_then(|()| std::str::from_utf8(digits.text.get(..digits.len)?).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| x.into())
}

/// A finite number as JSON; -0.0 is 0.0.
pub(super) fn json(x: f64) -> Option<Value> {
    Number::from_f64(x + 0.0).map(Value::Number)
}
