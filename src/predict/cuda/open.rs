//! How many sessions there are on GPUs: a process that ends while one is being dropped is ended by the driver.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

static COUNT: Mutex<usize> = Mutex::new(0);
static FEWER: Condvar = Condvar::new();

/// A session that is open, or about to be, or not quite gone.
pub(in crate::predict) struct Counted(());

impl Counted {
    pub(in crate::predict) fn new() -> Counted {
        *COUNT.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Counted(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *COUNT.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FEWER.notify_all();
    }
}

/// Waits until no session is left on a GPU, for so long at most. To be called last in a program whose engine was dropped
/// and not closed.
pub fn wait_for_gpus(most: Duration) {
    if !none_within(most) {
        tracing::warn!("a session on a GPU is still there as the process ends");
    }
}

fn none_within(most: Duration) -> bool {
    let count = COUNT.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = FEWER.wait_timeout_while(count, most, |count| *count > 0);
    let (count, _) = waited.unwrap_or_else(PoisonError::into_inner);
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_goes_on_when_the_last_session_is_gone() {
        assert!(none_within(Duration::ZERO));
        let first = Counted::new();
        let second = Counted::new();
        assert!(!none_within(Duration::ZERO));
        let waiter = std::thread::spawn(|| none_within(Duration::from_secs(60)));
        drop(first);
        assert!(!none_within(Duration::ZERO));
        drop(second);
        assert!(waiter.join().unwrap());
    }
}
