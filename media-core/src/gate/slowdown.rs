//! Slowdown: how long a try from an address waits that has failed often.
//!
//! Each try costs its address [`TRY_COST`] of time, of which [`SAVED_MAX`] may be used at once; a try that succeeds costs
//! nothing. So an address has ten tries free and then one every two seconds, whatever it opens in parallel, and no other address
//! waits for it.
//!
//! Limits: [`ADDRESSES_MAX`] addresses are remembered; beyond it the least guilty one is forgotten. A try that would wait longer than
//! [`WAIT_MAX`] is refused without a look at it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What a try costs its address.
pub const TRY_COST: Duration = Duration::from_secs(2);

/// How much of that may be used at once: ten tries.
pub const SAVED_MAX: Duration = Duration::from_secs(20);

/// The longest wait.
pub const WAIT_MAX: Duration = Duration::from_secs(4);

/// Addresses remembered, some 100 bytes each.
pub const ADDRESSES_MAX: usize = 20_000;

/// An address has failed so often that its tries are not looked at for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many failed tries from this address; come again in {} s", .again_after.as_secs())]
pub struct TooManyTries {
    /// When a try will be looked at again.
    pub again_after: Duration,
}

/// Addresses that owe time, with the moment at which they owe none.
#[derive(Clone, Debug, Default)]
pub struct Slowdown {
    pub(super) owing: HashMap<IpAddr, Instant>,
}

impl Slowdown {
    /// Charges a try; how long it has to wait.
    ///
    /// # Errors
    /// [`TooManyTries`]; nothing is charged then.
    pub fn charge(&mut self, ip: IpAddr, now: Instant) -> Result<Duration, TooManyTries> {
        let network = network(ip);
        let until = self.owing.get(&network).map_or(now, |until| (*until).max(now));
        let wait = (until + TRY_COST).saturating_duration_since(now + SAVED_MAX);
        if wait > WAIT_MAX {
            return Err(TooManyTries { again_after: wait - WAIT_MAX + Duration::from_secs(1) });
        }
        self.make_room(network, now);
        self.owing.insert(network, until + TRY_COST);
        Ok(wait)
    }

    /// Takes a charge back: the try succeeded, or was not the caller's fault.
    pub fn refund(&mut self, ip: IpAddr, now: Instant) {
        let network = network(ip);
        if let Some(until) = self.owing.get_mut(&network) {
            match until.checked_sub(TRY_COST).filter(|until| *until > now) {
                Some(less) => *until = less,
                None => drop(self.owing.remove(&network)),
            }
        }
    }

    /// How many addresses wait before a try is looked at.
    pub fn slowed(&self, now: Instant) -> usize {
        self.owing.values().filter(|until| **until + TRY_COST > now + SAVED_MAX).count()
    }

    fn make_room(&mut self, network: IpAddr, now: Instant) {
        if self.owing.len() < ADDRESSES_MAX || self.owing.contains_key(&network) {
            return;
        }
        self.owing.retain(|_, until| *until > now);
        if self.owing.len() >= ADDRESSES_MAX {
            let least = self.owing.iter().min_by_key(|(_, until)| **until).map(|(ip, _)| *ip);
            if let Some(least) = least {
                self.owing.remove(&least);
            }
        }
    }
}

/// An IPv6 caller has as many addresses as it likes within its /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip @ IpAddr::V4(_) => ip,
    }
}
