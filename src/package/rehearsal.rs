//! The golden examples, run: each alone, filling a batch by itself, among the others, and among strangers.
//!
//! An example that fails alone is a fault of the package. One that fails only in company shows that its batch-mates
//! change its answer (dynamically quantised models do that): such a package runs one row at a time.

use std::{fmt, sync::Arc};

use super::{
    Package,
    compare::{Difference, difference},
    fault::PackageFault,
    golden::{Expected, Golden},
    strangers::strangers,
};
use crate::{
    decision::Thresholds,
    fault::{Failure, Fault},
    message::rejection::Rejection,
    tensor::{Outputs, Row, RowOutputs},
};

/// Why the rows of a package run one by one, although it asks for batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchSensitive {
    /// An example is right alone and wrong in company.
    Changed {
        /// The example's file.
        file: String,
        /// Rows of the batch that it ran in.
        rows: usize,
        /// What came back there.
        difference: Difference,
    },
    /// An example is right alone, and a batch with it does not run.
    Fails {
        /// The example's file.
        file: String,
        /// Rows of the batch that it ran in.
        rows: usize,
        /// What was said of the run.
        fault: String,
    },
    /// All examples make the same row, and no other could be made that the model runs.
    Untried,
    /// No row could be made that is longer or shorter than an example's and that the model runs.
    Unpadded,
}

impl fmt::Display for BatchSensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchSensitive::Changed {
                file,
                rows,
                difference,
            } => {
                let Difference {
                    pointer,
                    expected,
                    found,
                } = difference;
                let at = if pointer.is_empty() { "" } else { " at " };
                write!(
                    f,
                    "{file} is right alone but not in a batch of {rows}: found {found}{at}{pointer}, expected {expected}; the model lets rows of a batch change each other, so its rows run one by one; export it without dynamic quantisation or batch statistics (and, where inputs are sequences, with a mask that it heeds) to have them batched"
                )
            }
            BatchSensitive::Fails { file, rows, fault } => write!(
                f,
                "{file} is right alone but a batch of {rows} with it fails ({fault}), so its rows run one by one; to have them batched, export the model with the batch axis dynamic all the way through, without a Reshape to a batch of 1, or, where the batch met a limit of a run, raise that or lower batch.max_size"
            ),
            BatchSensitive::Untried => f.write_str(
                "the golden examples make one and the same row, and the model runs none that differs from it, so nothing shows that rows of a batch leave each other alone and they run one by one; add a golden example with other values to have them batched",
            ),
            BatchSensitive::Unpadded => f.write_str(
                "the golden examples' sequences are all of one length, and the model runs no other row that was tried, so nothing shows that padding changes no answer and rows run one by one; add a golden example of another length to have them batched",
            ),
        }
    }
}

/// What came of rows that ran beside longer ones.
enum Beside {
    Changed(BatchSensitive),
    Same,
    Untold,
}

/// A golden example that became rows.
struct Part<'g> {
    golden: &'g Golden,
    rows: Vec<Row>,
    thresholds: Thresholds,
}

impl Part<'_> {
    fn fails(&self, rows: usize, fault: &Fault) -> BatchSensitive {
        BatchSensitive::Fails {
            file: self.golden.file.clone(),
            rows,
            fault: fault.detail.clone(),
        }
    }
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
            let prepared = self
                .validate(&golden.object)
                .and_then(|()| self.prepare(&golden.object));
            let judged = match prepared {
                Err(rejection) => judge_rejection(golden, &rejection),
                Ok((rows, thresholds)) => {
                    let part = Part {
                        golden,
                        rows,
                        thresholds,
                    };
                    let alone: Vec<_> = part.rows.iter().collect();
                    let judged = self.judge(&part, run(&mut predict, &alone, 1));
                    parts.push(part);
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
        let rows: Vec<_> = parts.iter().flat_map(|part| &part.rows).collect();
        let first = rows.first().filter(|_| size > 1)?;
        if let Some(found) = self.among_examples(parts, size, predict) {
            return Some(found);
        }
        // Whether anything ran beside what is longer; where there are no sequences, nothing has to.
        let together = |rows: &[&Row]| {
            let first = rows.first().map(|row| row.length);
            rows.iter().any(|row| Some(row.length) != first)
        };
        let mut padded = rows.chunks(size).any(together) || first.length == 0;
        for part in parts {
            match self.beside_longer(part, predict) {
                Beside::Changed(found) => return Some(found),
                Beside::Same => padded = true,
                Beside::Untold => {}
            }
        }
        let mut strangers = strangers(self.layout(), &rows);
        // One that the model does not run even alone (a place outside its table) would say nothing of company.
        strangers.retain(|row| predict(&[row]).is_ok());
        padded |= strangers.iter().any(|row| row.length > first.length);
        if !padded {
            return Some(BatchSensitive::Unpadded);
        }
        if strangers.is_empty() {
            let alike = rows.iter().all(|row| row == first);
            return alike.then_some(BatchSensitive::Untried);
        }
        let strangers: Vec<_> = strangers.iter().collect();
        let among = |part| self.among_strangers(part, &strangers, size, predict);
        parts.iter().find_map(among)
    }

    /// Each example fills a batch by itself, then all do together, in two orders.
    fn among_examples(
        &self,
        parts: &[Part<'_>],
        size: usize,
        predict: &mut impl FnMut(&[&Row]) -> Result<Outputs, Fault>,
    ) -> Option<BatchSensitive> {
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
            let ran = size.min(batch.len());
            let outputs = match run(predict, &batch, size) {
                Ok(outputs) => outputs,
                Err(fault) => return copies.first().map(|part| part.fails(ran, &fault)),
            };
            let mut given = outputs.as_slice();
            copies.iter().find_map(|part| {
                let (own, rest) = given.split_at_checked(part.rows.len()).unwrap_or_default();
                given = rest;
                self.changed(part, ran, own.to_vec())
            })
        })
    }

    /// The rows of one example with half of their steps: alone, and each beside the whole one. What is right is not
    /// known of them, but that padding may not change it.
    fn beside_longer(
        &self,
        part: &Part<'_>,
        predict: &mut impl FnMut(&[&Row]) -> Result<Outputs, Fault>,
    ) -> Beside {
        if part.rows.iter().any(|row| row.length < 2) {
            return Beside::Untold;
        }
        let half = |row: &Row| self.layout().shortened(row, row.length / 2);
        let halves: Vec<Row> = part.rows.iter().map(half).collect();
        let decided = |rows: Vec<RowOutputs>| self.decide(&part.thresholds, &rows).ok();
        let alone = run(predict, &halves.iter().collect::<Vec<_>>(), 1);
        // Steps that the model needs may be gone.
        let Some(alone) = alone.ok().and_then(decided) else {
            return Beside::Untold;
        };
        let mut beside = Vec::with_capacity(halves.len());
        for (half, whole) in halves.iter().zip(&part.rows) {
            match run(predict, &[half, whole], 2) {
                Ok(outputs) => beside.extend(outputs.into_iter().next()),
                Err(fault) => return Beside::Changed(part.fails(2, &fault)),
            }
        }
        let changed = match decided(beside) {
            Some(beside) => difference(&alone, &beside, part.golden.tolerance),
            None => Some(whole(part.golden, "none".into())),
        };
        changed.map_or(Beside::Same, |difference| {
            Beside::Changed(BatchSensitive::Changed {
                file: part.golden.file.clone(),
                rows: 2,
                difference,
            })
        })
    }

    /// The rows of one example, in full batches with rows that are nobody's: ahead of them, then behind them.
    fn among_strangers(
        &self,
        part: &Part<'_>,
        strangers: &[&Row],
        size: usize,
        predict: &mut impl FnMut(&[&Row]) -> Result<Outputs, Fault>,
    ) -> Option<BatchSensitive> {
        let most = (size / 2).max(1);
        [true, false].into_iter().find_map(|ahead| {
            let mut given = Vec::with_capacity(part.rows.len());
            for own in part.rows.chunks(most) {
                let others = strangers.iter().copied().cycle().take(size - own.len());
                let first = if ahead { 0 } else { size - own.len() };
                let batch: Vec<_> = if ahead {
                    own.iter().chain(others).collect()
                } else {
                    others.chain(own).collect()
                };
                match run(predict, &batch, size) {
                    Ok(outputs) => given.extend(outputs.into_iter().skip(first).take(own.len())),
                    Err(fault) => return Some(part.fails(size, &fault)),
                }
            }
            self.changed(part, size, given)
        })
    }

    fn changed(
        &self,
        part: &Part<'_>,
        rows: usize,
        outputs: Vec<RowOutputs>,
    ) -> Option<BatchSensitive> {
        let difference = self.judge(part, Ok(outputs))?;
        Some(BatchSensitive::Changed {
            file: part.golden.file.clone(),
            rows,
            difference,
        })
    }

    /// What is wrong with the answer that `outputs` make.
    fn judge(
        &self,
        part: &Part<'_>,
        outputs: Result<Vec<RowOutputs>, Fault>,
    ) -> Option<Difference> {
        let golden = part.golden;
        let decided = outputs
            .map_err(Failure::Faulted)
            .and_then(|rows| self.decide(&part.thresholds, &rows));
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
