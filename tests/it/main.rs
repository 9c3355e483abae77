//! Integration tests: one binary, a module per floor.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod broker;
mod contract;
mod engine;
mod layering;
mod node;
mod onnx;
mod raw;
mod worker;
