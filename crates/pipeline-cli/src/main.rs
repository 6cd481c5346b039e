//! The `ipinsights` command.

fn main() {}
