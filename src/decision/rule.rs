//! Reject rules: a row → the package's own "no".

use super::{source::Source, spec::Pick};
use crate::{
    fault::Failure,
    message::rejection::{Code, Rejection, Stage},
    representation::RejectionSpec,
    tensor::RowOutputs,
};

/// One reject rule, ready to run.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) source: Source,
    pub(super) pick: Pick,
    pub(super) limit: Limit,
    pub(super) code: String,
    pub(super) spec: RejectionSpec,
}

/// Which values a rule rejects.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Above(f64),
    Below(f64),
}

impl Rule {
    /// Rejects the request when `row` meets this rule; `element` is the row's place under `each`.
    pub(super) fn check(&self, row: &RowOutputs, element: Option<usize>) -> Result<(), Failure> {
        let scores = self.source.read(row)?;
        let value = match self.pick {
            Pick::Index(index) => scores.at(index)?,
            Pick::Max => scores.at(scores.best()?)?,
            Pick::Min => scores.at(scores.worst()?)?,
        };
        let met = match self.limit {
            Limit::Above(limit) => value > limit,
            Limit::Below(limit) => value < limit,
        };
        if !met {
            return Ok(());
        }
        let code = Code::Package {
            code: self.code.clone().into(),
            retryable: self.spec.retryable,
        };
        let detail = match element {
            None => self.spec.title.clone(),
            Some(i) => format!("{} (element {i})", self.spec.title),
        };
        Err(Rejection::new(code, Stage::Decide, detail).into())
    }
}
