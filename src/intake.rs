//! Delivery → engine → reply → settled: the only place where a delivery's fate is decided.
