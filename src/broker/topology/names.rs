//! What exchanges and queues are called.

/// Requests are published here, with the package's name as routing key.
pub const EXCHANGE: &str = "inferq";
/// Exchange and queue of requests for packages nobody serves.
pub const UNKNOWN: &str = "inferq.unknown";
/// Exchange and queue of what the broker gave up on.
pub const DIED: &str = "inferq.died";
/// Exchange of the dead letters.
pub const DEAD: &str = "inferq.dead";

/// What the names of queues end with that are served first; no package's name holds a dot.
pub const HIGH: &str = ".high";

/// The queue of a package.
#[must_use]
pub fn queue_of(package: &str) -> String {
    format!("{EXCHANGE}.{package}")
}

/// The queue of a package that is served first; its routing key is `<package>.high`.
#[must_use]
pub fn high_queue_of(package: &str) -> String {
    format!("{EXCHANGE}.{package}{HIGH}")
}

/// Whether a queue is one that is served first.
#[must_use]
pub fn is_high(queue: &str) -> bool {
    queue.ends_with(HIGH)
}

/// The queue of a package's dead letters.
#[must_use]
pub fn dead_queue_of(package: &str) -> String {
    format!("{DEAD}.{package}")
}

/// Exchange and queue that bring a request back after so many milliseconds.
#[must_use]
pub fn retry_queue(ms: u64) -> String {
    format!("{EXCHANGE}.retry.{ms}")
}
