//! The `gtvision` binary.

mod registry;
mod runtime;
mod stream;

fn main() {}
