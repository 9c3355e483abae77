//! Integration tests: one binary, a module per floor.

mod broker;
mod cli;
mod engine;
mod layering;
mod node;
mod raw;
mod schemas;
mod worker;
