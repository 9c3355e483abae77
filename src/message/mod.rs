//! The wire contract, version 1: what a request is, what a reply is. Mirrors `schemas/`.

pub mod object;
pub mod rejection;
