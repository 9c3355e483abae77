//! What is wrong with a request, collected for one rejection.

use crate::message::rejection::{Code, Located, Rejection, Stage};

/// No more faults than this are told to the requester.
const MAX_ERRORS: usize = 20;

/// Places in a request and what is wrong there; none twice.
#[derive(Default)]
pub(super) struct Complaints(Vec<Located>);

impl Complaints {
    pub(super) fn push(&mut self, pointer: String, detail: String) {
        // Several columns may be made from one place.
        let known = self
            .0
            .iter()
            .any(|l| l.pointer == pointer && l.detail == detail);
        if !known && !self.enough() {
            self.0.push(Located { pointer, detail });
        }
    }

    pub(super) fn enough(&self) -> bool {
        self.0.len() >= MAX_ERRORS
    }

    pub(super) fn none_or<T>(self, ok: T) -> Result<T, Rejection> {
        let Some(first) = self.0.first() else {
            return Ok(ok);
        };
        let detail = match self.0.len() {
            1 => sentence(first),
            n => format!("{n} values are at fault; the first: {}", sentence(first)),
        };
        let mut rejection = Rejection::new(Code::Unrepresentable, Stage::Represent, detail);
        rejection.errors = self.0;
        Err(rejection)
    }
}

fn sentence(located: &Located) -> String {
    match located.pointer.as_str() {
        "" => located.detail.clone(),
        pointer => format!("{pointer}: {}", located.detail),
    }
}

/// A rejection for one place.
pub(super) fn unrepresentable(pointer: &str, detail: impl Into<String>) -> Rejection {
    let located = Located {
        pointer: pointer.to_owned(),
        detail: detail.into(),
    };
    let mut rejection = Rejection::new(Code::Unrepresentable, Stage::Represent, sentence(&located));
    rejection.errors.push(located);
    rejection
}
