//! How many sessions run a model, and on how many cores each, where its manifest leaves that open.
//!
//! On a CPU appetite is t(b, threads, sessions). A package begins with one session of one core, and is live where that is.
//! Others are taken for what they gain, all sessions of a way at work at once: a session a core, which has a copy of the
//! weights each, or one session on all cores, whose runs keep every other package waiting.

use crate::package::Sessions;

/// Bytes that the weights of all sessions of a package may have, where their number is ours to choose.
const WEIGHTS: u64 = 256 << 20;

/// More sessions or cores are taken for so many times the throughput.
const GAIN: f64 = 1.05;

/// A run on many cores is worth it for so large a part of what each would do alone.
const SHARE: f64 = 0.5;

/// What a manifest may ask for at most.
const MOST: Sessions = Sessions {
    count: 64,
    threads: 256,
};

/// What is tried beside one session of one core, for a model of so many bytes on so many cores. Where runs are `counted`,
/// their memory is on the thread that runs, and there are no helpers.
pub(super) fn ways(cores: usize, bytes: u64, counted: bool) -> Vec<Sessions> {
    let fit = usize::try_from(WEIGHTS / bytes.max(1)).unwrap_or(usize::MAX);
    let many = Sessions {
        count: cores.min(MOST.count).min(fit),
        threads: 1,
    };
    let wide = Sessions {
        count: 1,
        threads: if counted { 1 } else { cores.min(MOST.threads) },
    };
    let ways = [many, wide].into_iter();
    ways.filter(|way| way.count * way.threads > 1).collect()
}

/// Whether a way with so much throughput is taken in the place of the one that is the best so far; one session of one
/// core has `single`.
pub(super) fn is_better(way: Sessions, throughput: f64, best: f64, single: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "256 threads at most")]
    let cores = way.threads as f64;
    let pays = way.threads == 1 || throughput >= single * cores * SHARE;
    pays && throughput > best * GAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Sessions = Sessions {
        count: 1,
        threads: 16,
    };
    const MANY: Sessions = Sessions {
        count: 16,
        threads: 1,
    };

    fn of(cores: usize, bytes: u64, counted: bool) -> Vec<(usize, usize)> {
        let ways = ways(cores, bytes, counted).into_iter();
        ways.map(|way| (way.count, way.threads)).collect()
    }

    #[test]
    fn a_session_a_core_and_one_on_all_cores_are_tried() {
        assert_eq!(of(16, 1 << 20, false), [(16, 1), (1, 16)]);
        assert_eq!(of(1, 1, false), []);
        assert_eq!(of(1_000, 0, false), [(64, 1), (1, 256)]);
    }

    #[test]
    fn there_are_as_many_copies_of_the_weights_as_the_bound_allows() {
        assert_eq!(of(16, 17 << 20, false), [(15, 1), (1, 16)]);
        assert_eq!(of(2, 200 << 20, false), [(1, 2)]);
        assert_eq!(of(2, u64::MAX, true), []);
    }

    #[test]
    fn a_run_whose_memory_is_counted_has_one_thread() {
        assert_eq!(of(4, 1, true), [(4, 1)]);
    }

    #[test]
    fn more_is_taken_for_a_clear_gain_only() {
        assert!(is_better(MANY, 106.0, 100.0, 100.0));
        assert!(!is_better(MANY, 104.0, 100.0, 100.0));
    }

    #[test]
    fn all_cores_are_taken_only_where_each_does_half_of_what_it_would_alone() {
        assert!(!is_better(WIDE, 790.0, 100.0, 100.0));
        assert!(is_better(WIDE, 810.0, 100.0, 100.0));
        assert!(!is_better(WIDE, 810.0, 800.0, 100.0), "nor is it more");
    }
}
