//! Doors for the fuzz targets and the bench of single steps, which may not need a broker.

use super::{Properties, ledger::Ledger, stream::Screened};
use futures::{FutureExt, io::AsyncReadExt};
use lapin::BasicProperties;
use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

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

/// Enters so many deliveries and acknowledges them, so many at a time. How many are left in hand.
#[must_use]
pub fn settle(deliveries: u64, batch: usize) -> usize {
    let ledger = Ledger::without_channel(Arc::new(AtomicU64::new(0)));
    let mut in_hand = Vec::with_capacity(batch);
    for tag in 1..=deliveries {
        let (receipt, _) = ledger.enter(tag, 500, Instant::now());
        in_hand.push(receipt);
        if in_hand.len() == batch {
            for receipt in in_hand.drain(..) {
                receipt.ack();
            }
            ledger.flush(Instant::now());
        }
    }
    drop(in_hand);
    ledger.in_hand()
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
