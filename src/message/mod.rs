//! The wire contract, version 1: what a request is, what a reply is. Mirrors `schemas/`.

pub mod codec;
mod json;
mod msgpack;
pub mod object;
pub mod rejection;
pub mod reply;
pub mod request;
pub mod timings;
