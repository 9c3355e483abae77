//! The golden examples, run: each alone, filling a batch by itself, and among the others.
//!
//! An example that fails alone is a fault of the package. One that fails only in company shows that its batch-mates
//! change its answer (dynamically quantised models do that): such a package runs one row at a time.

use std::{fmt, sync::Arc};

use super::{
    Package,
    compare::{Difference, difference},
    fault::PackageFault,
    golden::{Expected, Golden},
};
use crate::{
    fault::{Failure, Fault},
    message::rejection::Rejection,
    tensor::{Outputs, Row, RowOutputs},
};

/// Why a package may not batch: an example that is right alone and wrong in company.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSensitive {
    /// The example's file.
    pub file: String,
    /// Rows of the batch that it ran in.
    pub rows: usize,
    /// What came back there.
    pub difference: Difference,
}

impl fmt::Display for BatchSensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference {
            pointer,
            expected,
            found,
        } = &self.difference;
        let at = if pointer.is_empty() { "" } else { " at " };
        write!(
            f,
            "{} is right alone but not in a batch of {}: found {found}{at}{pointer}, expected {expected}; the model lets rows of a batch change each other, so its rows run one by one; export it without dynamic quantisation or batch statistics to have them batched",
            self.file, self.rows
        )
    }
}

/// A golden example that became rows.
struct Part<'g> {
    golden: &'g Golden,
    rows: Vec<Row>,
}

impl Package {
    /// Runs the golden examples through `predict`, which takes 1 to `batch().max_size` rows.
    ///
    /// `Some` says that rows must run alone, and why.
    ///
    /// # Errors
    /// Every example that does not give its answer even alone.
    pub fn rehearse(
        &self,
        mut predict: impl FnMut(&[&Row]) -> Result<Outputs, Fault>,
    ) -> Result<Option<BatchSensitive>, Vec<PackageFault>> {
        let (mut parts, mut faults) = (Vec::new(), Vec::new());
        for golden in self.goldens() {
            let represented = self
                .validate(&golden.object)
                .and_then(|()| self.represent(&golden.object));
            let judged = match represented {
                Err(rejection) => judge_rejection(golden, &rejection),
                Ok(rows) => {
                    let alone: Vec<_> = rows.iter().collect();
                    let judged = self.judge(golden, run(&mut predict, &alone, 1));
                    parts.push(Part { golden, rows });
                    judged
                }
            };
            faults.extend(judged.map(|wrong| fault(golden, wrong)));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(self.in_company(&parts, &mut predict))
    }

    fn in_company(
        &self,
        parts: &[Part<'_>],
        predict: &mut impl FnMut(&[&Row]) -> Result<Outputs, Fault>,
    ) -> Option<BatchSensitive> {
        let size = self.batch().max_size;
        if size < 2 {
            return None;
        }
        let each = parts.iter().map(|part| vec![part]);
        let all: Vec<_> = parts.iter().collect();
        let reversed: Vec<_> = parts.iter().rev().collect();
        each.chain([all, reversed]).find_map(|company| {
            let rows: usize = company.iter().map(|part| part.rows.len()).sum();
            if rows == 0 {
                return None;
            }
            let times = size.div_ceil(rows);
            let copies: Vec<_> = company.iter().cycle().take(times * company.len()).collect();
            let batch: Vec<_> = copies.iter().flat_map(|part| &part.rows).collect();
            let outputs = run(predict, &batch, size);
            let mut given = outputs.as_deref().unwrap_or_default();
            copies.iter().find_map(|part| {
                let (own, rest) = given.split_at_checked(part.rows.len()).unwrap_or_default();
                given = rest;
                let own = match &outputs {
                    Ok(_) => Ok(own.to_vec()),
                    Err(fault) => Err(fault.clone()),
                };
                let difference = self.judge(part.golden, own)?;
                Some(BatchSensitive {
                    file: part.golden.file.clone(),
                    rows: size.min(batch.len()),
                    difference,
                })
            })
        })
    }

    /// What is wrong with the answer that `outputs` make.
    fn judge(
        &self,
        golden: &Golden,
        outputs: Result<Vec<RowOutputs>, Fault>,
    ) -> Option<Difference> {
        let decided = outputs
            .map_err(Failure::Faulted)
            .and_then(|rows| self.decide(&golden.object, &rows));
        let outcome = match decided {
            Ok(outcome) => outcome,
            Err(Failure::Rejected(rejection)) => return judge_rejection(golden, &rejection),
            Err(Failure::Faulted(fault)) => return Some(whole(golden, fault.to_string())),
        };
        let Expected::Outcome(expected) = &golden.expected else {
            return Some(whole(golden, "an outcome".into()));
        };
        difference(expected, &outcome, golden.tolerance).or_else(|| {
            let errors = self.response_schema().check(&outcome).err()?;
            let error = errors.into_iter().next()?;
            Some(Difference {
                pointer: error.pointer,
                expected: "an outcome that the response schema allows".into(),
                found: format!("one that it does not ({})", error.detail),
            })
        })
    }
}

/// Runs `rows` in batches of `size`.
fn run(
    predict: &mut impl FnMut(&[&Row]) -> Result<Outputs, Fault>,
    rows: &[&Row],
    size: usize,
) -> Result<Vec<RowOutputs>, Fault> {
    let mut given = Vec::with_capacity(rows.len());
    for batch in rows.chunks(size) {
        let outputs = Arc::new(predict(batch)?);
        given.extend((0..batch.len()).map(|row| RowOutputs {
            outputs: Arc::clone(&outputs),
            row,
        }));
    }
    Ok(given)
}

fn judge_rejection(golden: &Golden, rejection: &Rejection) -> Option<Difference> {
    let code = rejection.code.as_str();
    match &golden.expected {
        Expected::Rejection(expected) if *expected == code => None,
        Expected::Rejection(_) | Expected::Outcome(_) => Some(whole(
            golden,
            format!("the rejection {code} ({})", rejection.detail),
        )),
    }
}

fn whole(golden: &Golden, found: String) -> Difference {
    Difference {
        pointer: String::new(),
        expected: match &golden.expected {
            Expected::Outcome(_) => "an outcome".into(),
            Expected::Rejection(code) => format!("the rejection {code}"),
        },
        found,
    }
}

fn fault(golden: &Golden, wrong: Difference) -> PackageFault {
    let key = match golden.expected {
        Expected::Outcome(_) => format!("/outcome{}", wrong.pointer),
        Expected::Rejection(_) => "/rejection".into(),
    };
    let mend = "if the model's answer is the right one, write it here; else mend the model, or how its inputs and outcome are made";
    PackageFault::new(&golden.file, key, wrong.found, wrong.expected, mend)
}
