//! Integration tests: one binary, a module per floor.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on has failed, and its numbers are small"
)]

mod admin;
mod appetite;
mod broker;
#[cfg(feature = "failpoints")]
mod chaos;
mod cli;
mod contract;
mod engine;
mod faults;
mod layering;
mod logs;
mod node;
mod onnx;
mod raw;
mod redis;
mod repository;
mod schemas;
mod worker;
