//! Runtime: the clock, the threads, the tasks and the waiting times that everything in the server shares.

pub(crate) mod clock;
#[cfg(test)]
pub(crate) mod fuse;
pub(crate) mod nap;
pub(crate) mod retry;
pub(crate) mod shards;
pub(crate) mod tasks;
