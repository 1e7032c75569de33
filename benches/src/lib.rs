//! Benches: micro benches over recorded media and the load harness.
//!
//! Nothing is here yet: the crate holds its place. It may import any crate of ours.
