//! Names of all metrics with their units; tracing set-up.
