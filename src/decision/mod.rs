//! Outputs → outcome or rejection. Pure.
