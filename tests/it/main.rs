//! Integration tests: one binary, a module per floor.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod admin;
mod broker;
mod cli;
mod contract;
mod engine;
mod faults;
mod layering;
mod logs;
mod node;
mod onnx;
mod raw;
mod schemas;
mod worker;
