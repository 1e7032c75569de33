//! Cover: libFuzzer around one target, which the environment names: one program, linked once.
#![no_main]

use std::sync::LazyLock;

use gtvision_fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("GTV_FUZZ_TARGET").unwrap_or_default();
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    let found = TARGETS.iter().find(|target| target.name == name);
    *found.unwrap_or_else(|| panic!("GTV_FUZZ_TARGET is {name:?}; it names one of {names:?}"))
});

fuzz_target!(|input: &[u8]| (TARGET.run)(input));
