//! Waits that a test leaves out, to see that it would be noticed. In a build for use none can be.

/// One of the waits that keep streams in order.
#[cfg_attr(
    not(feature = "failpoints"),
    expect(unreachable_pub, reason = "tests name it")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The run's, for its inputs.
    Filled,
    /// The copy down's, for the run.
    Ran,
}

#[cfg(feature = "failpoints")]
mod planted {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Wait;

    static LEFT_OUT: AtomicU8 = AtomicU8::new(u8::MAX);

    impl Wait {
        /// Each of them.
        pub const ALL: [Wait; 2] = [Wait::Filled, Wait::Ran];
    }

    /// From now on this one is left out, everywhere.
    pub fn plant(wait: Option<Wait>) {
        LEFT_OUT.store(wait.map_or(u8::MAX, |wait| wait as u8), Ordering::SeqCst);
    }

    pub(in crate::predict::cuda) fn is_left_out(wait: Wait) -> bool {
        LEFT_OUT.load(Ordering::SeqCst) == wait as u8
    }
}

#[cfg(feature = "failpoints")]
pub(super) use planted::is_left_out;
#[cfg(feature = "failpoints")]
pub use planted::plant;

#[cfg(not(feature = "failpoints"))]
pub(super) const fn is_left_out(_: Wait) -> bool {
    false
}
