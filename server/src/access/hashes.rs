//! Hashes: argon2, which is slow and takes memory on purpose, away from the threads that serve.
//!
//! A hash that was right is remembered for [`RIGHT_LIFETIME`], so that a player's next request does not compute it again. The hash is
//! part of what is remembered: a changed password is not let in by the old one.
//!
//! Limits: [`AT_ONCE_MAX`], [`WAITING_MAX`], [`MEMORY_KIB_MAX`], [`COST_MAX`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::{Argon2, Params, PasswordHash, PasswordVerifier as _};
use media_core::gate::Matches;
use tokio::sync::Semaphore;

use super::memory::Memory;

/// Hashes computed at once; with [`MEMORY_KIB_MAX`], half a gigabyte.
const AT_ONCE_MAX: usize = 2;
/// Tries that wait for their turn; a further one is refused. At 50 ms each the last one waits under a second.
const WAITING_MAX: u64 = 32;
/// The most memory that a hash may ask for; one that wants more is refused in the configuration.
const MEMORY_KIB_MAX: u32 = 256 << 10;
/// The most rounds and lanes that a hash may ask for.
const COST_MAX: u32 = 16;
/// A right password is remembered for so long.
const RIGHT_LIFETIME: Duration = Duration::from_secs(300);

/// Whether a hash can be checked at a bearable cost.
pub(crate) fn is_usable(encoded: &str) -> bool {
    let Ok(hash) = PasswordHash::new(encoded) else { return false };
    let is_argon2 = matches!(hash.algorithm.as_str(), "argon2id" | "argon2i" | "argon2d");
    let Ok(params) = Params::try_from(&hash) else { return false };
    is_argon2
        && hash.salt.is_some()
        && hash.hash.is_some()
        && params.m_cost() <= MEMORY_KIB_MAX
        && params.t_cost() <= COST_MAX
        && params.p_cost() <= COST_MAX
}

/// Checks hashes.
pub(super) struct Hashes {
    turns: Semaphore,
    waiting: AtomicU64,
    computed: AtomicU64,
    right: Memory,
}

impl Default for Hashes {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE_MAX),
            waiting: AtomicU64::new(0),
            computed: AtomicU64::new(0),
            right: Memory::new(RIGHT_LIFETIME),
        }
    }
}

impl Hashes {
    /// Whether `encoded` is the hash of `guess`; `None` when too many wait.
    pub(super) async fn check(&self, encoded: &str, guess: &str) -> Option<Matches> {
        let tag = self.right.tag(&[encoded, guess]);
        if self.right.knows(&tag) {
            return Some(Matches::Yes);
        }
        let waiting = Waiting::begin(&self.waiting)?;
        let turn = self.turns.acquire().await.ok()?;
        drop(waiting);
        // Somebody with the same password may have been before us: sixteen players on one page.
        if self.right.knows(&tag) {
            return Some(Matches::Yes);
        }
        self.computed.fetch_add(1, Ordering::Relaxed);
        let (encoded, guess) = (encoded.to_owned(), guess.to_owned());
        let computing = tokio::task::spawn_blocking(move || compute(&encoded, &guess));
        let matches = computing.await.ok()?;
        drop(turn);
        if matches == Matches::Yes {
            self.right.note(tag);
        }
        Some(matches)
    }

    /// Hashes computed so far.
    pub(super) fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }
}

fn compute(encoded: &str, guess: &str) -> Matches {
    let is_same = PasswordHash::new(encoded)
        .is_ok_and(|hash| Argon2::default().verify_password(guess.as_bytes(), &hash).is_ok());
    if is_same { Matches::Yes } else { Matches::No }
}

/// One that waits, counted until it does not any more, however that comes about.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicU64) -> Option<Self> {
        let this = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(this)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the reference implementation: `echo -n testpass | argon2 12345678 -i -l 32 -e`, and with `-id` for `testuser`.
    const OF_TESTPASS: &str =
        "$argon2i$v=19$m=4096,t=3,p=1$MTIzNDU2Nzg$/mrZ42TiTv1mcPnpMUera5oi0SFYbbyueAbdx5sUvWo";
    const OF_TESTUSER: &str =
        "$argon2id$v=19$m=4096,t=3,p=1$MTIzNDU2Nzg$Ux/LWeTgJQPyfMMJo1myR64+o8rALHoPmlE1i/TR+58";

    #[test]
    fn hashes_of_bearable_cost_are_usable() {
        assert!(is_usable(OF_TESTPASS) && is_usable(OF_TESTUSER));
        for bad in [
            "",
            "$2b$10$abc",
            "$argon2id$v=19$m=4096,t=3,p=1$MTIzNDU2Nzg",
            "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
            &OF_TESTPASS.replace("m=4096", "m=1048576"),
            &OF_TESTPASS.replace("t=3", "t=99"),
        ] {
            assert!(!is_usable(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_right_password_is_computed_once() {
        let hashes = Hashes::default();
        assert_eq!(hashes.check(OF_TESTUSER, "testuser").await, Some(Matches::Yes));
        assert_eq!(hashes.check(OF_TESTUSER, "testuser").await, Some(Matches::Yes));
        assert_eq!(hashes.computed(), 1);
        assert_eq!(hashes.check(OF_TESTUSER, "hunter2").await, Some(Matches::No));
        assert_eq!(hashes.check(OF_TESTUSER, "hunter2").await, Some(Matches::No));
        assert_eq!(hashes.check(OF_TESTPASS, "testpass").await, Some(Matches::Yes));
        assert_eq!(hashes.computed(), 4);
    }

    // correctness: S6
    #[tokio::test]
    async fn no_more_than_a_few_wait() {
        let hashes = Hashes::default();
        hashes.waiting.store(WAITING_MAX, Ordering::Relaxed);
        assert_eq!(hashes.check(OF_TESTUSER, "testuser").await, None);
        assert_eq!(hashes.waiting.load(Ordering::Relaxed), WAITING_MAX);
    }
}
