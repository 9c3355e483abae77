//! Intervals of a score, with limits that a request may move.

use std::collections::BTreeMap;

use crate::{
    message::{
        document::Node,
        object::Object,
        rejection::{Code, Rejection, Stage},
    },
    representation::{Label, pointer::Pointer},
};

/// Labelled intervals that share out the whole line: a score gets the label of the last interval that it
/// reaches, and the first one reaches down for ever.
#[derive(Clone, Debug)]
pub(super) struct Intervals {
    pub(super) labels: Vec<Label>,
    /// Where each begins; a lookup's place holds its default.
    pub(super) bounds: Vec<f64>,
    /// Limits that the request decides about, by place.
    pub(super) lookups: Vec<(usize, Lookup)>,
    /// A band `from ≤ score < to` with its own label.
    pub(super) uncertain: Option<(f64, f64, Label)>,
}

/// A limit that the request decides about.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) pointer: Pointer,
    pub(super) values: Option<BTreeMap<String, f64>>,
}

impl Intervals {
    /// The limits for this request, where it may move some.
    pub(super) fn moved(&self, object: &Object) -> Result<Option<Vec<f64>>, Rejection> {
        let Object::Value(request) = object else {
            return Ok(None);
        };
        if self.lookups.is_empty() {
            return Ok(None);
        }
        let mut bounds = self.bounds.clone();
        for (place, lookup) in &self.lookups {
            if let (Some(found), Some(bound)) =
                (lookup.find(request.root())?, bounds.get_mut(*place))
            {
                *bound = found;
            }
        }
        Ok(Some(bounds))
    }

    /// The label of `score`, by limits that were [`moved`](Self::moved) or its own.
    pub(super) fn label(&self, score: f64, moved: Option<&[f64]>) -> Option<&Label> {
        if let Some((from, to, label)) = &self.uncertain
            && (*from..*to).contains(&score)
        {
            return Some(label);
        }
        let reached = moved
            .unwrap_or(&self.bounds)
            .iter()
            .rposition(|from| score >= *from);
        self.labels.get(reached.unwrap_or(0))
    }
}

impl Lookup {
    /// The limit that `request` asks for; `None` when it does not say, or says what `values` does not know.
    fn find(&self, request: Node<'_>) -> Result<Option<f64>, Rejection> {
        let Some(found) = self.pointer.present(request) else {
            return Ok(None);
        };
        let (limit, expected) = match &self.values {
            None => (found.as_f64().map(Some), "a number"),
            Some(values) => (found.as_str().map(|text| values.get(text).copied()), "text"),
        };
        limit.ok_or_else(|| {
            let pointer = self.pointer.as_str();
            let detail =
                format!("expected {expected}, which a threshold of the decision depends on");
            // The schema could have caught it, so it is told in the schema's name.
            Rejection::new(
                Code::InvalidRequest,
                Stage::Validate,
                format!("{pointer}: {detail}"),
            )
            .at(pointer, detail)
        })
    }
}
