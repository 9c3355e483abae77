//! Places where a test has this process die, look at another clock, or write down what it did.
//!
//! Only with the cargo feature `failpoints`, and then only as the environment says; otherwise nothing is left
//! of them. `INFERQ_FAIL=predicted:1500` kills the process at the 1500th time it gets to `predicted`;
//! `INFERQ_SCORED_LOG` is a file that every scored request is entered in; `INFERQ_CLOCK_OFFSET_FILE` one that
//! holds the milliseconds by which the wall clock goes wrong; while `INFERQ_STATE_FULL_FILE` is there, the state
//! directory has no room.

#[cfg(feature = "failpoints")]
mod armed;

#[cfg(feature = "failpoints")]
pub(crate) use armed::{clock_offset_ms, hit, of, room};

/// The process got to this point.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn hit(_point: &str) {}

/// What `work` does is done for the request of this name.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn of<F: Future>(_request: Option<&str>, work: F) -> F {
    work
}

/// There is room in the state directory.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "a test has none")]
pub(crate) fn room() -> std::io::Result<()> {
    Ok(())
}

/// By how much the wall clock goes wrong.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn clock_offset_ms() -> i64 {
    0
}
