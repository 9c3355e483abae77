//! Integration tests: one binary, a module per floor.

mod broker;
mod engine;
mod faults;
mod layering;
mod node;
mod onnx;
mod raw;
mod worker;
