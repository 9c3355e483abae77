//! Integration tests: one binary, a module per floor.

mod broker;
mod node;
mod raw;
