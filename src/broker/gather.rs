//! What the consumers of one channel have got.

use futures::Stream;
use lapin::Consumer;
use lapin::types::ShortString;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The most deliveries taken before anything else is looked at.
pub(super) const CHUNK: usize = 256;

/// One consumer of a channel.
pub(super) struct Subscription {
    pub(super) tag: ShortString,
    pub(super) prefetch: u16,
    pub(super) stream: Consumer,
    /// The last delivery's tag.
    pub(super) last: u64,
}

/// What came behind the deliveries.
pub(super) enum End {
    /// The subscription at this place has ended.
    At(usize),
    Broken(String),
}

/// Fills `chunk` with what has arrived, and waits only while there is nothing. An end stops it, as places
/// change with it.
pub(super) async fn gather(
    subscriptions: &mut [Subscription],
    chunk: &mut Vec<(usize, lapin::message::Delivery)>,
) -> Option<End> {
    std::future::poll_fn(|context: &mut Context<'_>| {
        for (place, subscription) in subscriptions.iter_mut().enumerate() {
            while chunk.len() < CHUNK {
                match Pin::new(&mut subscription.stream).poll_next(context) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(message))) => chunk.push((place, message)),
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(Some(End::Broken(error.to_string())));
                    }
                    Poll::Ready(None) => return Poll::Ready(Some(End::At(place))),
                }
            }
        }
        if chunk.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(None)
        }
    })
    .await
}
