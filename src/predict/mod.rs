//! Batch → outputs. The only module that knows ONNX Runtime.
//!
//! A [`Library`] is loaded once a process; a [`Session`] is one model ready to run, owned by the one
//! OS thread that a [`SessionThread`] stands for.

mod buffers;
mod library;
mod memory;
mod outputs;
mod parts;
mod probe;
mod session;
mod signature;
mod stop;
mod thread;

#[cfg(test)]
#[path = "../../tests/it/onnx.rs"]
pub(crate) mod onnx;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use self::{
    library::{Library, LibraryFault, disable_reports},
    session::{Session, SessionSpec, inspect},
    stop::Stopper,
    thread::{SessionThread, ThreadGuard},
};
