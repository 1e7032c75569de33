//! The `gtvision` binary.

mod egress;
mod registry;
mod runtime;
mod stream;

fn main() {}
