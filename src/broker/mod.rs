//! AMQP 0-9-1: connections, topology, consuming, publishing, settling. The only module that knows lapin.

mod config;
mod connection;
mod credit;
mod properties;
mod receipt;
mod screen;
mod stream;

pub use config::{Config, ConfigFault, TopologyMode};
pub use connection::ConnectFault;
pub use properties::{Death, Header, HeaderValue, Properties};
pub use receipt::Receipt;
pub use screen::{Blemish, MAX_DEPTH};
