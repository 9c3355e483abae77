//! The `inferq` command.

fn main() {}
