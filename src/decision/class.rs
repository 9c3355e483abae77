//! Kind `class`: a row → one label.

use serde_json::Value;

use super::{
    source::{Scores, Source},
    threshold::Intervals,
};
use crate::{
    fault::Fault,
    message::{object::Object, rejection::Rejection},
    representation::Label,
    tensor::{RowOutputs, RowValues},
};

/// A field that is one label.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) source: Source,
    pub(super) way: Way,
}

/// How a row names its label.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// By its greatest element.
    Winner {
        labels: Vec<Label>,
        uncertain: Option<(f64, Label)>,
    },
    /// By the interval that one element lies in.
    Score { index: usize, intervals: Intervals },
    /// By itself: an element that is a label, or the index of one.
    Named {
        index: usize,
        labels: Option<Vec<Label>>,
    },
}

impl Class {
    /// The thresholds for this request, where it may move some.
    pub(super) fn moved(&self, object: &Object) -> Result<Option<Vec<f64>>, Rejection> {
        match &self.way {
            Way::Score { intervals, .. } => intervals.moved(object),
            Way::Winner { .. } | Way::Named { .. } => Ok(None),
        }
    }

    /// The label, and the score that it was chosen by where there is one.
    pub(super) fn decide(
        &self,
        row: &RowOutputs,
        moved: Option<&[f64]>,
    ) -> Result<(Value, Option<f64>), Fault> {
        let scores = self.source.read(row)?;
        match &self.way {
            Way::Winner { labels, uncertain } => {
                check_len(&scores, labels.len())?;
                let best = scores.best()?;
                let score = scores.at(best)?;
                let label = match uncertain {
                    Some((below, label)) if score < *below => label,
                    _ => labels.get(best).ok_or_else(|| no_label(&scores))?,
                };
                Ok((label.into(), Some(score)))
            }
            Way::Score { index, intervals } => {
                let score = scores.at(*index)?;
                let label = intervals
                    .label(score, moved)
                    .ok_or_else(|| no_label(&scores))?;
                Ok((label.into(), Some(score)))
            }
            Way::Named { index, labels } => {
                let label = named(&scores, *index, labels.as_deref());
                Ok((label.ok_or_else(|| no_label(&scores))?, None))
            }
        }
    }
}

/// Checks a row against its labels, where the graph leaves its length open.
pub(super) fn check_len(scores: &Scores<'_>, labels: usize) -> Result<(), Fault> {
    if scores.len() == labels {
        return Ok(());
    }
    let found = scores.len();
    Err(scores.fault(format_args!("{found} elements for {labels} labels")))
}

fn no_label(scores: &Scores<'_>) -> Fault {
    scores.fault("it names no known label")
}

fn named(scores: &Scores<'_>, index: usize, labels: Option<&[Label]>) -> Option<Value> {
    match (scores.values(), labels) {
        (RowValues::Int(v), None) => v.get(index).map(|n| (*n).into()),
        (RowValues::Int(v), Some(labels)) => {
            let place = usize::try_from(*v.get(index)?).ok()?;
            labels.get(place).map(Value::from)
        }
        (RowValues::Text(v), labels) => {
            let text = v.get(index)?;
            let known = labels.is_none_or(|labels| {
                labels
                    .iter()
                    .any(|label| matches!(label, Label::Text(known) if known == text))
            });
            known.then(|| text.as_str().into())
        }
        (RowValues::Float(_) | RowValues::Double(_), _) => None,
    }
}
