//! Doors for the fuzz targets, which may not need a broker.

use super::{Properties, stream::Screened};
use futures::{FutureExt, io::AsyncReadExt};
use lapin::BasicProperties;
use std::time::Duration;

/// What lapin is given to parse in place of `bytes`, which a broker sent. Call it on a tokio runtime.
///
/// # Errors
/// When the stream ends with an error, as it does for a frame that no broker sends.
pub fn screened(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = Screened::new(bytes, Duration::from_secs(3600));
    let mut read = Vec::new();
    let reading = stream.read_to_end(&mut read).now_or_never();
    reading.unwrap_or_else(|| Err(std::io::ErrorKind::WouldBlock.into()))?;
    Ok(read)
}

/// Properties as a delivery has them.
#[must_use]
pub fn properties(read: BasicProperties) -> Properties {
    Properties(read)
}

/// The same for lapin.
#[must_use]
pub fn published(properties: Properties) -> BasicProperties {
    properties.0
}
