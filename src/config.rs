//! Configuration: raw → validated. Every module owns its own `Config`; this one composes them.
