//! Fuzz: bytes that no honest peer sends, fed to every parser of outside bytes, and what must hold whatever they are.
//!
//! ```text
//!  corpus/NAME/* ─► mutations ─► feed() ─┐                short: the unit tests; long: GTV_FUZZ_SECONDS
//!                                        ├─► Target::run ─► a panic is a finding
//!  corpus/NAME/* ─► libFuzzer (cover/) ──┘                long, guided by coverage
//! ```
//!
//! Belongs here: targets of what media-core takes apart, and the mutations. Does not: parsers of `control-api`, `storage` and
//! `server` that are private to them; their own tests feed those (-> [`feed`]).
//! A target asserts more than that nothing panics: output is bounded by input, times rise, what was written reads back the same, and
//! bytes mean the same however a network cuts them.
#![expect(clippy::expect_used, clippy::panic, reason = "a panic is what says that something was found")]

mod feeding;
mod mutation;
mod pipeline;
mod random;
pub mod targets;

pub use feeding::{INPUT_BYTES_MAX, INPUT_TIME_MAX, feed};
pub use targets::{TARGETS, Target};

#[cfg(test)]
mod tests {
    use super::*;

    /// All in one test: how long it takes is then told in one line, and one core does it.
    #[test]
    fn no_parser_of_outside_bytes_trips_over_what_no_honest_peer_sends() {
        for target in TARGETS {
            feed(target.name, target.run);
        }
    }
}
