//! Integration tests: one binary, a module per floor.

mod broker;
mod engine;
mod layering;
mod node;
#[expect(
    dead_code,
    reason = "not every model that the encoder knows is used here"
)]
mod onnx;
mod raw;
mod worker;
