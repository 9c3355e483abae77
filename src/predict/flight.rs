//! A batch that was launched.

use super::cuda::Flying;
use crate::{fault::Fault, tensor::Outputs};

/// A batch on its way through a session's device. It may land on any thread, and should: what it holds there is given
/// back then, or when this is dropped.
#[must_use = "its outputs are there when it lands"]
pub struct Flight(State);

enum State {
    Landed(Outputs),
    Flying(Box<Flying>),
}

impl Flight {
    pub(super) fn landed(outputs: Outputs) -> Flight {
        Flight(State::Landed(outputs))
    }

    pub(super) fn flying(batch: Flying) -> Flight {
        Flight(State::Flying(Box::new(batch)))
    }

    /// Waits until the run is over, and gives every output's rows in the order of those that were launched.
    ///
    /// # Errors
    /// What of the run failed after its launch.
    pub fn land(self) -> Result<Outputs, Fault> {
        match self.0 {
            State::Landed(outputs) => Ok(outputs),
            State::Flying(batch) => batch.land(),
        }
    }
}
