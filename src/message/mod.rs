//! The wire contract, version 1: what a request is, what a reply is. Mirrors `schemas/`.
//!
//! Pure: it sees the properties that the contract names as a [`request::Head`], and bodies as bytes.

pub mod codec;
pub mod deadline;
pub mod document;
pub mod media;
pub mod name;
pub mod object;
pub mod problem;
pub mod rejection;
pub mod reply;
pub mod reply_to;
pub mod request;
pub mod timings;
