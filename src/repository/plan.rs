//! How many sessions run a model, and on how many cores each, where its manifest leaves that open.
//!
//! On a CPU appetite is t(b, threads, sessions). One session on all cores has the weights once and the shortest runs; a
//! session a core has a copy of the weights each, and no thread waits for another. Both are timed, all sessions at work
//! at once, and a session a core is taken for a clear gain only.

use crate::package::Sessions;

/// Bytes that the weights of all sessions of a package may have, where their number is ours to choose.
const WEIGHTS: u64 = 256 << 20;

/// So many times the throughput is a clear gain.
const GAIN: f64 = 1.05;

/// What a manifest may ask for at most.
const MOST: Sessions = Sessions {
    count: 64,
    threads: 256,
};

/// What is preferred for a model of so many bytes on so many cores, and what is tried beside it. Where runs are `counted`,
/// their memory is on the thread that runs, and there are no helpers.
pub(super) fn ways(cores: usize, bytes: u64, counted: bool) -> (Sessions, Option<Sessions>) {
    let wide = Sessions {
        count: 1,
        threads: if counted {
            1
        } else {
            cores.clamp(1, MOST.threads)
        },
    };
    let many = Sessions {
        count: cores.clamp(1, MOST.count),
        threads: 1,
    };
    let fits = bytes.saturating_mul(many.count as u64) <= WEIGHTS;
    (wide, Some(many).filter(|many| fits && *many != wide))
}

/// Whether a way with so much throughput is taken in the place of one that is preferred.
pub(super) fn is_clearly_better(throughput: f64, preferred: f64) -> bool {
    throughput > preferred * GAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cores: usize, bytes: u64, counted: bool) -> Vec<(usize, usize)> {
        let (preferred, other) = ways(cores, bytes, counted);
        let ways = [preferred].into_iter().chain(other);
        ways.map(|way| (way.count, way.threads)).collect()
    }

    #[test]
    fn one_session_on_all_cores_and_one_a_core_are_tried() {
        assert_eq!(of(16, 1 << 20, false), [(1, 16), (16, 1)]);
        assert_eq!(of(2, 128 << 20, false), [(1, 2), (2, 1)]);
        assert_eq!(of(1, 1, false), [(1, 1)]);
        assert_eq!(of(1_000, 1, false), [(1, 256), (64, 1)]);
    }

    #[test]
    fn weights_are_not_copied_beyond_the_bound() {
        assert_eq!(of(16, 17 << 20, false), [(1, 16)]);
        assert_eq!(of(2, u64::MAX, true), [(1, 1)]);
    }

    #[test]
    fn a_run_whose_memory_is_counted_has_one_thread() {
        assert_eq!(of(4, 1, true), [(1, 1), (4, 1)]);
    }

    #[test]
    fn a_session_a_core_is_taken_for_a_clear_gain_only() {
        assert!(is_clearly_better(106.0, 100.0));
        assert!(!is_clearly_better(104.0, 100.0));
        assert!(!is_clearly_better(0.0, 0.0), "nothing is known of either");
        assert!(is_clearly_better(1.0, 0.0));
    }
}
