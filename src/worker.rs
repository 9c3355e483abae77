//! The composition root: boot, supervise, drain in two phases.
