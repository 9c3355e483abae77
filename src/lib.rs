//! The inference worker for RabbitMQ: business objects in, business decisions out.
//!
//! A request comes as an AMQP message, becomes the rows of a model's input, runs in a batch with the rows of
//! other requests, and is answered with an outcome in the terms of its package, or with a rejection and its
//! reason. [`Engine`] does that for any Rust program; [`worker`] puts it between two connections to a broker.
//!
//! # The codemap
//!
//! Modules in the order in which a request meets them; each imports only from below itself.
//!
//! - [`cli`] and [`worker`] start, supervise and drain; [`config`] is what they are told; [`admin`] shows how it goes.
//! - [`intake`]: a delivery is decoded, scored, answered and settled. The only place that decides its fate.
//! - [`engine`]: the story: one request through one package version, no broker in sight.
//! - [`repository`]: folders of packages, loaded whole or not at all.
//! - [`batcher`]: which rows run together, and when.
//! - [`package`]: manifest, schemas, digest, golden examples; [`predict`]: sessions of ONNX Runtime.
//! - [`representation`]: business object → rows; [`decision`]: outputs → outcome or rejection. Both pure.
//! - [`fault`]: what is ours to mend, not the requester's.
//! - [`broker`]: AMQP, bytes and properties; [`message`]: the wire contract, without any AMQP.
//! - [`duplicates`]: replies already given, kept in Redis where an operator wants that.
//! - [`tensor`]: rows, batches, outputs; [`telemetry`]: names of metrics, logs.
//! - `failpoint`: where tests kill the process; nothing of it is in a build for use.

pub mod cli;
pub mod worker;

pub mod config;

pub mod admin;
pub mod intake;

pub mod engine;

pub mod batcher;
pub mod repository;

pub mod package;
pub mod predict;

pub mod decision;
pub mod representation;

pub mod fault;

pub mod broker;
pub mod duplicates;
pub mod message;
pub mod telemetry;
pub mod tensor;

mod failpoint;

pub use engine::{Answer, Engine, EngineFault, Request};
