//! Questions to the broker: bounded, and answered in words.

use crate::broker::connection::{Link, PATIENCE};
use crate::broker::letters::LettersFault;
use crate::broker::properties::short;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, ErrorKind};

pub(super) async fn open(link: &Link, queue: &str) -> Result<Channel, LettersFault> {
    link.channel().await.map_err(|reason| LettersFault::Ended {
        queue: queue.to_owned(),
        reason,
    })
}

/// Ready messages and consumers of a queue; `None` where there is none. On a channel of its own: that it is
/// missing closes the channel.
pub(super) async fn stat(link: &Link, queue: &str) -> Result<Option<(usize, usize)>, LettersFault> {
    const NOT_FOUND: u16 = 404;
    let channel = open(link, queue).await?;
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let asking = channel.queue_declare(short(queue), options, FieldTable::default());
    let asked = tokio::time::timeout(PATIENCE, asking).await;
    let stat = match asked.map_err(|_| silent(queue))? {
        Ok(stat) => stat,
        Err(error) if code(&error) == Some(NOT_FOUND) => return Ok(None),
        Err(error) => return Err(fault(queue, &error)),
    };
    within(queue, channel.close(200, "bye".into())).await?;
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Some((
        size(stat.message_count()),
        size(stat.consumer_count()),
    )))
}

pub(super) async fn within<T>(
    queue: &str,
    asking: impl Future<Output = lapin::Result<T>>,
) -> Result<T, LettersFault> {
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer
        .map_err(|_| silent(queue))?
        .map_err(|error| fault(queue, &error))
}

fn silent(queue: &str) -> LettersFault {
    LettersFault::Ended {
        queue: queue.to_owned(),
        reason: "the broker does not answer".to_owned(),
    }
}

fn code(error: &lapin::Error) -> Option<u16> {
    if let ErrorKind::ProtocolError(error) = error.kind() {
        Some(error.get_id())
    } else {
        None
    }
}

pub(super) fn fault(queue: &str, error: &lapin::Error) -> LettersFault {
    const ACCESS_REFUSED: u16 = 403;
    let (queue, reason) = (queue.to_owned(), error.to_string());
    if code(error) == Some(ACCESS_REFUSED) {
        LettersFault::AccessRefused { queue, reason }
    } else {
        LettersFault::Ended { queue, reason }
    }
}
