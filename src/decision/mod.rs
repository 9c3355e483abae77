//! Outputs → outcome or rejection. Pure.

mod spec;

pub use spec::{
    Bound, ClassSpec, LookupSpec, NumberSpec, OutcomeSpec, Pick, RejectRule, ThresholdSpec,
    TopKSpec, UncertainSpec, VectorSpec,
};

pub use crate::representation::RejectionSpec;
