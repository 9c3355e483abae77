//! AMQP 0-9-1: connections, topology, consuming, publishing, settling. The only module that knows lapin.

mod screen;
mod stream;

pub use screen::{Blemish, MAX_DEPTH};
