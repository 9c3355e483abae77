//! Rows of many requests become batches that suit the device.
