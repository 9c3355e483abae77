//! Outputs → outcome or rejection. Pure and synchronous.
//!
//! [`OutcomeSpec`] and [`RejectRule`] are what a package's author writes; [`Plan`] is that, checked against the
//! model's outputs and ready to run. Scores that are 32-bit floats are compared and printed as the shortest
//! decimal that names them: a score that prints as 0.9 reaches a threshold of 0.9.

mod class;
mod compile;
mod compile_class;
mod field;
mod plan;
mod rule;
mod source;
mod spec;
#[cfg(test)]
mod tests;
mod threshold;

pub use plan::{Plan, Thresholds};
pub use spec::{
    Bound, ClassSpec, LookupSpec, NumberSpec, OutcomeSpec, Pick, RejectRule, ThresholdSpec,
    TopKSpec, UncertainSpec, VectorSpec,
};

pub use crate::representation::RejectionSpec;
