//! The inference worker for RabbitMQ: business objects in, business decisions out.

pub mod admin;
pub mod batcher;
pub mod broker;
pub mod cli;
pub mod config;
pub mod decision;
pub mod engine;
pub mod fault;
pub mod intake;
pub mod message;
pub mod package;
pub mod predict;
pub mod repository;
pub mod representation;
pub mod telemetry;
pub mod tensor;
pub mod worker;
