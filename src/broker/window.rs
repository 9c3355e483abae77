//! One window of publications on one confirm channel.
//!
//! The futures of all publications are polled once, in order, before any is awaited, so that their frames
//! leave together; then every confirm is awaited, but not for ever: a queue that has lost its quorum confirms
//! nothing. Nothing else is published on the channel meanwhile.
//!
//! A message that the broker returned is handed out by lapin on *some* confirm of the window, one that has resolved
//! by the time its own has. So all are known once every confirm has been looked at, those that were given up last.
//! Whose it is, is told by what it is (exchange, key, properties, body): nothing is added to the message, and of two
//! equal ones it does not matter which.

use crate::broker::properties::short;
use crate::broker::publisher::Publication;
use crate::broker::stream::LastWrite;
use crate::failpoint;
use futures::FutureExt;
use futures::future::FusedFuture;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use std::pin::Pin;
use std::time::Instant;

/// What became of one publication of a window.
pub(super) enum Fate {
    Ack,
    Nack,
    Unroutable,
    /// Neither confirmed nor refused while there was patience; the channel is of no more use.
    Silent,
    Failed(lapin::Error),
}

/// Publishes the window and awaits every confirm until `patience` ends; when its frames were written, and what became
/// of each. lapin says so once the stream has taken a frame's last byte. This task hears of it when it runs next: the
/// frames were written when the stream took something `last`, or before.
pub(super) async fn fates(
    channel: &Channel,
    last: &LastWrite,
    window: Vec<&Publication>,
    patience: impl Future<Output = ()>,
) -> (Instant, Vec<Fate>) {
    let mut patience = std::pin::pin!(patience.fuse());
    let (mut returned, mut late) = (Vec::new(), Vec::new());
    let mut fates = Vec::with_capacity(window.len());
    let published = publish_all(channel, &window, patience.as_mut()).await;
    let written = last.last();
    failpoint::hit("published");
    // Last to first: when the last has resolved most others have, and wake nobody.
    for (place, published) in published.into_iter().enumerate().rev() {
        let confirmed = match published {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(mut confirm)) => {
                let confirmed = within(&mut confirm, patience.as_mut()).await;
                if confirmed.is_none() {
                    late.push((place, confirm));
                }
                confirmed
            }
        };
        fates.push(fate(confirmed, &mut returned));
    }
    fates.reverse();
    for (place, confirm) in &mut late {
        if let Some(fate_of_late) = fates.get_mut(*place) {
            *fate_of_late = fate(confirm.now_or_never(), &mut returned);
        }
    }
    // One that resolved only now may have the message of one that had before.
    for (place, confirm) in late {
        if let Some(Fate::Silent) = fates.get(place) {
            let _ = fate(confirm.now_or_never(), &mut returned);
        }
    }
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
    (written, fates)
}

/// What a confirm says, if it does; a message that it hands out goes to those returned.
fn fate(
    confirmed: Option<lapin::Result<Confirmation>>,
    returned: &mut Vec<BasicReturnMessage>,
) -> Fate {
    match confirmed {
        None => Fate::Silent,
        Some(Err(error)) => Fate::Failed(error),
        Some(Ok(confirmation)) => {
            let nack = confirmation.is_nack();
            returned.extend(confirmation.take_message());
            if nack { Fate::Nack } else { Fate::Ack }
        }
    }
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
