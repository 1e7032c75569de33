//! Memory: what was found out a short while ago, by keyed hashes of what it was about: no secret is kept.
//!
//! Limits: [`ENTRIES_MAX`]; what does not fit is found out again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use uuid::Uuid;

use crate::runtime::clock;

/// Entries at once, some 60 bytes each.
const ENTRIES_MAX: usize = 20_000;

/// A keyed hash.
pub(super) type Tag = [u8; 32];

/// Things found out, each with the time until which it holds.
pub(super) struct Memory {
    key: hmac::Key,
    lifetime: Duration,
    entries: Mutex<HashMap<Tag, Instant>>,
}

impl Memory {
    /// Nothing is known; what will be is forgotten after `lifetime`.
    pub(super) fn new(lifetime: Duration) -> Self {
        // The process's own: after a restart the hashes mean nothing.
        let secret = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Self { key, lifetime, entries: Mutex::default() }
    }

    /// The hash of some texts.
    pub(super) fn tag(&self, fields: &[&str]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for field in fields {
            // The length, so that no two lists read the same.
            context.update(&field.len().to_be_bytes());
            context.update(field.as_bytes());
        }
        context.sign().as_ref().try_into().unwrap_or_default()
    }

    /// Whether it was noted, and still holds.
    pub(super) fn knows(&self, tag: &Tag) -> bool {
        self.lock().get(tag).is_some_and(|until| clock::now() < *until)
    }

    /// Notes it from now on.
    pub(super) fn note(&self, tag: Tag) {
        let now = clock::now();
        let mut entries = self.lock();
        if entries.len() >= ENTRIES_MAX && !entries.contains_key(&tag) {
            entries.retain(|_, until| now < *until);
            if entries.len() >= ENTRIES_MAX {
                return;
            }
        }
        entries.insert(tag, now + self.lifetime);
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Tag, Instant>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_tell_where_a_text_ends() {
        let memory = Memory::new(Duration::from_secs(60));
        assert_ne!(memory.tag(&["ab", "c"]), memory.tag(&["a", "bc"]));
        assert_eq!(memory.tag(&["ab", "c"]), memory.tag(&["ab", "c"]));
        let other = Memory::new(Duration::from_secs(60));
        assert_ne!(memory.tag(&["a"]), other.tag(&["a"]), "each process has its own key");
    }

    #[test]
    fn what_is_noted_is_known_until_it_is_over() {
        let memory = Memory::new(Duration::from_secs(60));
        let tag = memory.tag(&["a"]);
        assert!(!memory.knows(&tag));
        memory.note(tag);
        assert!(memory.knows(&tag));
        memory.clear();
        assert!(!memory.knows(&tag));
        let short = Memory::new(Duration::ZERO);
        short.note(tag);
        assert!(!short.knows(&tag));
    }
}
