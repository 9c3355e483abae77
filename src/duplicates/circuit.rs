//! Whether the store is asked: not again and again while it does not answer. Time comes in as an argument.

use std::time::{Duration, Instant};

/// After a failure to connect nobody tries for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// A shared connection, and what is known while there is none.
pub(super) struct Circuit<C> {
    shared: Option<C>,
    /// How often a shared connection was given up.
    epoch: u64,
    /// Until then nobody tries to connect.
    closed_until: Instant,
    /// How long a try may last, and a second.
    patience: Duration,
    /// Why there is none; `None` also before the first try.
    reason: Option<String>,
}

/// Leave to ask.
pub(super) struct Pass<C> {
    /// What to ask on; `None` for the one that is to connect.
    pub(super) connection: Option<C>,
    epoch: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The store said so, or the connection did.
    #[error("{0}")]
    Broke(String),
    /// Nothing said anything.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
}

impl<C: Clone> Circuit<C> {
    pub(super) fn new(now: Instant, timeout: Duration) -> Self {
        Circuit {
            shared: None,
            epoch: 0,
            closed_until: now,
            patience: timeout + PAUSE,
            reason: None,
        }
    }

    /// Without a connection, one at a time gets a pass, to make one.
    pub(super) fn pass(&mut self, now: Instant) -> Option<Pass<C>> {
        if self.shared.is_none() {
            if now < self.closed_until {
                return None;
            }
            self.closed_until = now + self.patience;
        }
        Some(Pass {
            connection: self.shared.clone(),
            epoch: self.epoch,
        })
    }

    /// An answer came; true where it ends a time without the store.
    pub(super) fn answered(&mut self, pass: &Pass<C>, connection: C) -> bool {
        if pass.connection.is_some() {
            return false;
        }
        self.shared = Some(connection);
        self.reason.take().is_some()
    }

    /// No answer came; true where it begins a time without the store. A connection that broke is replaced at once;
    /// after silence, and where none could be had, there is a pause.
    pub(super) fn failed(&mut self, pass: &Pass<C>, now: Instant, fault: &Fault) -> bool {
        if pass.epoch != self.epoch {
            return false;
        }
        self.epoch += 1;
        let lost = self.shared.take().is_some();
        let broke = lost && matches!(fault, Fault::Broke(_));
        self.closed_until = if broke { now } else { now + PAUSE };
        self.reason.replace(fault.to_string()).is_none()
    }

    /// Whether it answers, and if not, why.
    pub(super) fn state(&self) -> (bool, Option<&str>) {
        (self.shared.is_some(), self.reason.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(50);

    fn broke() -> Fault {
        Fault::Broke("refused".into())
    }

    #[test]
    fn one_connects_and_then_all_share_what_it_made() {
        let now = Instant::now();
        let mut circuit = Circuit::new(now, TIMEOUT);
        let first = circuit.pass(now).unwrap();
        assert_eq!(first.connection, None);
        assert!(circuit.pass(now).is_none());
        assert!(!circuit.answered(&first, 'a'), "nothing had ended");
        assert_eq!(circuit.pass(now).unwrap().connection, Some('a'));
        assert_eq!(circuit.state(), (true, None));
    }

    #[test]
    fn a_store_that_is_down_is_asked_by_one_a_second_and_both_changes_are_told_once() {
        let now = Instant::now();
        let mut circuit = Circuit::new(now, TIMEOUT);
        let first = circuit.pass(now).unwrap();
        circuit.answered(&first, 'a');
        let together = [circuit.pass(now).unwrap(), circuit.pass(now).unwrap()];
        let told = together.map(|pass| circuit.failed(&pass, now, &broke()));
        assert_eq!(told, [true, false]);
        assert_eq!(circuit.state(), (false, Some("refused")));

        // The lost connection is replaced at once …
        let mut probe = circuit.pass(now).unwrap();
        assert_eq!(probe.connection, None);
        // … and while that is tried, and for a second after it failed, nobody waits.
        let mut now = now;
        for _ in 0..3 {
            assert!(circuit.pass(now + TIMEOUT).is_none());
            now += TIMEOUT;
            assert!(!circuit.failed(&probe, now, &broke()));
            assert!(circuit.pass(now + PAUSE / 2).is_none());
            now += PAUSE;
            probe = circuit.pass(now).unwrap();
        }
        assert!(circuit.answered(&probe, 'b'));
        assert_eq!(circuit.state(), (true, None));
        assert_eq!(circuit.pass(now).unwrap().connection, Some('b'));
    }

    #[test]
    fn what_fails_late_on_an_old_connection_does_not_end_the_new_one() {
        let now = Instant::now();
        let mut circuit = Circuit::new(now, TIMEOUT);
        let first = circuit.pass(now).unwrap();
        circuit.answered(&first, 'a');
        let (soon, late) = (circuit.pass(now).unwrap(), circuit.pass(now).unwrap());
        circuit.failed(&soon, now, &broke());
        let probe = circuit.pass(now).unwrap();
        circuit.answered(&probe, 'b');
        assert!(!circuit.failed(&late, now, &broke()));
        assert_eq!(circuit.state(), (true, None));
    }

    #[test]
    fn after_silence_nobody_waits_for_a_second() {
        let now = Instant::now();
        let mut circuit = Circuit::new(now, TIMEOUT);
        let first = circuit.pass(now).unwrap();
        circuit.answered(&first, 'a');
        let pass = circuit.pass(now).unwrap();
        assert!(circuit.failed(&pass, now, &Fault::Silent(TIMEOUT)));
        assert_eq!(circuit.state().1, Some("no answer within 50 ms"));
        assert!(circuit.pass(now + PAUSE / 2).is_none());
        assert!(circuit.pass(now + PAUSE).is_some());
    }

    #[test]
    fn a_probe_that_was_abandoned_is_followed_by_another() {
        let now = Instant::now();
        let mut circuit = Circuit::<char>::new(now, TIMEOUT);
        let _abandoned = circuit.pass(now);
        assert!(circuit.pass(now + TIMEOUT + PAUSE).is_some());
    }
}
