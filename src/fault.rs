//! Ours, not the requester's: a broken dependency, a crash, a bug.
//!
//! [`Failure`] is the error of the whole way, so that `?` carries both a rejection and a fault.

use crate::message::rejection::{Code, Rejection, Stage};

/// What kind of thing broke; decides the reply's code once retries are spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A feature store, a remote source. Transient.
    Dependency,
    /// A run that fails, NaN, a wrong row count, an unknown label index. Never retried: it would fail again.
    Model,
    /// A run that asks for more memory than it may have, or than there is. Never retried: it would ask again.
    Memory,
    /// A panic, a bug, a thread that is gone. Transient: another worker may do better.
    Internal,
}

impl FaultKind {
    /// The name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::Dependency => "dependency",
            FaultKind::Model => "model",
            FaultKind::Memory => "memory",
            FaultKind::Internal => "internal",
        }
    }

    /// The code of the reply once no more tries are made.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            FaultKind::Dependency => Code::DependencyFault,
            FaultKind::Model | FaultKind::Memory => Code::ModelFault,
            FaultKind::Internal => Code::InternalFault,
        }
    }
}

/// A fault on a request's way. Two audiences: `detail` is for the operator's log and never leaves the
/// worker; the requester reads [`Fault::rejection`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind:?} fault at {stage}: {detail}")]
pub struct Fault {
    /// What broke.
    pub kind: FaultKind,
    /// Where.
    pub stage: Stage,
    /// For the operator; no request content.
    pub detail: String,
}

impl Fault {
    /// A model that failed at `stage`.
    pub fn model(stage: Stage, detail: impl Into<String>) -> Self {
        Fault {
            kind: FaultKind::Model,
            stage,
            detail: detail.into(),
        }
    }

    /// A run that was short of memory.
    pub fn memory(detail: impl Into<String>) -> Self {
        Fault {
            kind: FaultKind::Memory,
            stage: Stage::Predict,
            detail: detail.into(),
        }
    }

    /// A worker that failed at `stage`.
    pub fn internal(stage: Stage, detail: impl Into<String>) -> Self {
        Fault {
            kind: FaultKind::Internal,
            stage,
            detail: detail.into(),
        }
    }

    /// Whether another try may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            FaultKind::Dependency | FaultKind::Internal => true,
            FaultKind::Model | FaultKind::Memory => false,
        }
    }

    /// What the requester is told when no more tries are made.
    #[must_use]
    pub fn rejection(&self) -> Rejection {
        let detail = match self.kind {
            FaultKind::Dependency => {
                "something this package depends on did not answer; send the request again later"
            }
            FaultKind::Model | FaultKind::Memory => {
                "the model gave no usable result for this request; its owner finds it in the dead letters"
            }
            FaultKind::Internal => "the worker failed on this request; send it again later",
        };
        Rejection::new(self.kind.code(), self.stage, detail)
    }
}

/// Why a request has no outcome.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The requester's to mend, or in nobody's hands: final.
    #[error("rejected: {0}")]
    Rejected(Rejection),
    /// Ours: retried where that can help.
    #[error(transparent)]
    Faulted(#[from] Fault),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Failure::Rejected(rejection)
    }
}

/// A fault in what a package's author wrote: found while reading a manifest, before anything runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: found {found}, expected {expected}; {mend}")]
pub struct SpecFault {
    /// The manifest's key, dotted: `input.features.columns[3].pointer`.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
    /// How to mend it.
    pub mend: String,
}

impl SpecFault {
    /// All four parts, in the order in which they are read.
    pub fn new(
        key: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        SpecFault {
            key: key.into(),
            found: found.into(),
            expected: expected.into(),
            mend: mend.into(),
        }
    }
}
