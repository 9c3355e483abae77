//! A door for the fuzz targets: everything that is read of a message's properties.

use super::head::{attempts, first_at, head, returned};
use crate::{
    broker::Properties,
    message::{deadline::resolve_deadline, reply_to::reply_to},
};

/// Reads all that the contract reads.
pub fn read(properties: &Properties) {
    let head = head(properties);
    let deadline = resolve_deadline(&head, 1_767_225_600_000, 30_000);
    let to = reply_to(head.reply_to, Some("replies"));
    let tried = (
        attempts(properties),
        first_at(properties),
        returned(properties),
    );
    let _ = std::hint::black_box((
        head.reply_id("package", b"{}"),
        (deadline, to, tried),
        (head.reply_encoding(), head.version_pin(), head.trace()),
    ));
}
