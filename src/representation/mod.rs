//! Business object → rows. Pure and synchronous.
//!
//! [`InputSpec`] is what a package's author writes; [`Plan`] is that, checked against the model's inputs and
//! ready to run. Pointers are split, categories hashed and pixel tables computed once, so that a request
//! costs a walk through its values and writes straight into the bytes of its rows.

mod cell;
mod column;
mod compile_columns;
mod compile_image;
mod compile_sequence;
mod complaints;
mod image;
mod jpeg;
pub(crate) mod nearest;
mod picture;
mod plan;
pub(crate) mod pointer;
mod represent;
mod sequence;
mod spec;
#[cfg(test)]
mod tests;

pub(crate) use compile_sequence::longest;
pub use plan::Plan;
pub use spec::{
    Background, Blank, Color, ColumnSpec, Encode, ImageSpec, InputSpec, Label, Layout, OnMissing,
    Origin, RejectionSpec, Resampler, Scalar, SequenceSpec, TooSmall, Transform, Unknown,
};
