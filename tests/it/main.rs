//! Integration tests: one binary, a module per floor.

mod broker;
mod contract;
mod engine;
mod layering;
mod node;
mod onnx;
mod raw;
mod worker;
