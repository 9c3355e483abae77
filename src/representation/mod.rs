//! Business object → rows. Pure.
