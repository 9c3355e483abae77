//! Business object → rows. Pure.

mod spec;

pub use spec::{
    Background, Blank, Color, ColumnSpec, Encode, ImageSpec, InputSpec, Label, Layout, OnMissing,
    Origin, RejectionSpec, Resampler, Scalar, TooSmall, Transform, Unknown,
};
