//! Rows of many requests become batches that suit the device.

mod appetite;
pub mod policy;
