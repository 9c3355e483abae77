//! What lapin would tell the logs.

use tracing::{Level, Metadata};

/// Whether a log event of this origin may show a request, or the broker's password. lapin prints whole frames and
/// URLs below `info`, and every returned message with its content even as a warning.
#[must_use]
pub fn is_private(origin: &Metadata<'_>) -> bool {
    let target = origin.target();
    let amqp = ["lapin", "amq_protocol"]
        .iter()
        .any(|name| target.starts_with(name));
    target == "lapin::returned_messages" || (amqp && *origin.level() > Level::INFO)
}
