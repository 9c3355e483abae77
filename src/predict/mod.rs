//! Batch → outputs. The only module that knows ONNX Runtime.
//!
//! A [`Library`] is loaded once a process; a [`Session`] is one model ready to run, owned by the one
//! OS thread that a [`SessionThread`] stands for.

mod buffers;
mod cuda;
mod device;
mod flight;
mod library;
mod memory;
mod open;
mod outputs;
mod parts;
mod probe;
mod ring;
mod session;
mod signature;
mod stop;
mod thread;
mod trial;
mod widths;

#[cfg(test)]
#[path = "../../tests/it/onnx.rs"]
pub(crate) mod onnx;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

#[cfg(feature = "failpoints")]
pub use self::cuda::{Wait, plant};
pub use self::{
    cuda::{Bare, device_memory, device_name, wait_for_gpus},
    device::{DeviceChoice, DeviceId, Devices},
    flight::Flight,
    library::{Library, LibraryFault, disable_reports, has_cuda},
    open::inspect,
    session::{Session, SessionSpec},
    stop::Stopper,
    thread::{SessionThread, ThreadGuard},
    trial::try_device,
};
