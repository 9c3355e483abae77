//! One window of publications on one confirm channel.
//!
//! The futures of all publications are polled once, in order, before any is awaited, so that their frames
//! leave together; then every confirm is awaited, but not for ever: a queue that has lost its quorum confirms
//! nothing. Nothing else is published on the channel meanwhile.
//!
//! A message that the broker returned is handed out by lapin on *some* confirm of the window, at the latest on
//! the one that follows it, so that all are known once each confirm has resolved. Once one was given up, what might
//! have been returned on it counts as given up as well, whatever is confirmed afterwards. Whose it is, is told by what it is (exchange, key,
//! properties, body): nothing is added to the message, and of two equal ones it does not matter which.

use crate::broker::properties::short;
use crate::broker::publisher::Publication;
use crate::failpoint;
use futures::FutureExt;
use futures::future::FusedFuture;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, PublisherConfirm};
use std::pin::Pin;

/// What became of one publication of a window.
pub(super) enum Fate {
    Ack,
    Nack,
    Unroutable,
    /// Neither confirmed nor refused while there was patience; the channel is of no more use.
    Silent,
    Failed(lapin::Error),
}

/// Publishes the window and awaits every confirm until `patience` ends.
pub(super) async fn fates(
    channel: &Channel,
    window: Vec<&Publication>,
    patience: impl Future<Output = ()>,
) -> Vec<Fate> {
    let mut patience = std::pin::pin!(patience.fuse());
    let mut returned = Vec::new();
    let mut fates = Vec::with_capacity(window.len());
    let published = publish_all(channel, &window, patience.as_mut()).await;
    failpoint::hit("published");
    // Last to first: when the last has resolved most others have, and wake nobody.
    for (ours, published) in window.iter().zip(published).rev() {
        fates.push(match published {
            None => Fate::Silent,
            Some(Err(error)) => Fate::Failed(error),
            Some(Ok(confirm)) => match within(confirm, patience.as_mut()).await {
                None => Fate::Silent,
                Some(Err(error)) => Fate::Failed(error),
                Some(Ok(confirmation)) => {
                    let nack = confirmation.is_nack();
                    returned.extend(confirmation.take_message());
                    match (nack, ours.mandatory && patience.is_terminated()) {
                        (true, _) => Fate::Nack,
                        (false, false) => Fate::Ack,
                        // It may have come back on a confirm that nobody waited for any more.
                        (false, true) => Fate::Silent,
                    }
                }
            },
        });
    }
    fates.reverse();
    if !returned.is_empty() {
        let sent: Vec<_> = window
            .into_iter()
            .map(|ours| (ours, ours.properties.to_properties().0))
            .collect();
        for message in &returned {
            let place = owner(message, &sent, &fates);
            if let Some(fate) = place.and_then(|place| fates.get_mut(place)) {
                *fate = Fate::Unroutable;
            }
        }
    }
    fates
}

/// What `future` gives, unless `patience` has ended before.
async fn within<F: Future>(
    future: F,
    patience: Pin<&mut impl FusedFuture<Output = ()>>,
) -> Option<F::Output> {
    if patience.is_terminated() {
        return future.now_or_never();
    }
    tokio::select! {
        biased;
        output = future => Some(output),
        () = patience => None,
    }
}

/// A confirm for each message of the window; `None` for one that could not even be written.
async fn publish_all(
    channel: &Channel,
    window: &[&Publication],
    mut patience: Pin<&mut impl FusedFuture<Output = ()>>,
) -> Vec<Option<lapin::Result<PublisherConfirm>>> {
    type Publishing<'a> =
        Pin<Box<dyn Future<Output = lapin::Result<PublisherConfirm>> + Send + 'a>>;
    let mut waiting: Vec<Publishing<'_>> = Vec::with_capacity(window.len());
    let mut published = Vec::with_capacity(window.len());
    for message in window {
        let options = BasicPublishOptions {
            mandatory: message.mandatory,
            immediate: false,
        };
        let mut future = channel
            .basic_publish(
                short(&message.exchange),
                short(&message.routing_key),
                options,
                &message.body,
                message.properties.to_properties().0,
            )
            .boxed();
        // The first poll registers the confirm and queues the frames.
        published.push(future.as_mut().now_or_never());
        waiting.push(future);
    }
    for (future, result) in waiting.iter_mut().zip(&mut published).rev() {
        if result.is_none() {
            *result = within(future, patience.as_mut()).await;
        }
    }
    published
}

/// Whose message came back: the one most like it among those of its exchange and key.
fn owner(
    message: &BasicReturnMessage,
    window: &[(&Publication, BasicProperties)],
    fates: &[Fate],
) -> Option<usize> {
    window
        .iter()
        .zip(fates)
        .enumerate()
        .filter(|(_, ((ours, _), fate))| {
            ours.mandatory
                && short(&ours.exchange) == message.exchange
                && short(&ours.routing_key) == message.routing_key
                && !matches!(fate, Fate::Unroutable)
        })
        .max_by_key(|(_, ((ours, properties), _))| {
            (ours.body == message.data, *properties == message.properties)
        })
        .map(|(place, _)| place)
}
