//! History: what one viewer was sent of a track lately, for it to ask for again.
//!
//! Units are the stream's own, shared with its other viewers: what is kept for one of them is where its numbers begin.
//!
//! Limits: [`AGE_MAX`], [`PACKETS_MAX`]; in a second no more is sent again than is kept.
//! Units: sequence numbers with their roll-overs, but for the 16 bits that a viewer names.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::packets::UnitPayloads;
use super::rtp_packet::{Extensions, low_16};

/// How long packets are kept: players stop asking for one after a second.
pub(super) const AGE_MAX: Duration = Duration::from_secs(2);
/// Packets kept, the oldest units go first: a 10 s GOP of 4 Mbit/s with room, joined at once. Fewer than half the numbers,
/// so that 16 bits name one of them.
pub(super) const PACKETS_MAX: usize = 8192;
/// The budget of what is sent again is counted over so long: the link is full, more of the same makes it worse.
const BUDGET_INTERVAL: Duration = Duration::from_secs(1);

/// An access unit as it was sent.
#[derive(Clone, Debug)]
pub(super) struct SentUnit {
    /// Of its first packet; the others follow one by one.
    pub(super) first_seq: u64,
    pub(super) rtp_timestamp: u32,
    pub(super) payloads: UnitPayloads,
    /// The header extensions of its first packet, and those of the others.
    pub(super) extensions: [Extensions; 2],
    pub(super) at: Instant,
}

/// The newest units of one track toward one viewer.
#[derive(Debug, Default)]
pub(super) struct History {
    units: VecDeque<SentUnit>,
    packets: usize,
    bytes: usize,
    budget_since: Option<Instant>,
    again_bytes: usize,
}

impl SentUnit {
    fn bytes(&self) -> usize {
        self.payloads.iter().map(|payload| payload.payload.len()).sum()
    }
}

impl History {
    /// Keeps a unit; its numbers follow those of the one before.
    pub(super) fn keep(&mut self, unit: SentUnit) {
        let now = unit.at;
        self.packets += unit.payloads.len();
        self.bytes += unit.bytes();
        self.units.push_back(unit);
        self.forget(now);
    }

    /// The unit with the packet numbered `seq`, and which of its packets that is; counts as sent again.
    pub(super) fn again(&mut self, seq: u16, now: Instant) -> Option<(&SentUnit, usize)> {
        self.forget(now);
        if self.budget_since.is_none_or(|since| now.saturating_duration_since(since) >= BUDGET_INTERVAL) {
            self.budget_since = Some(now);
            self.again_bytes = 0;
        }
        let oldest = self.units.front()?.first_seq;
        let seq = oldest + u64::from(seq.wrapping_sub(low_16(oldest)));
        let at = self.units.partition_point(|unit| unit.first_seq <= seq).checked_sub(1)?;
        let unit = self.units.get(at)?;
        let place = usize::try_from(seq - unit.first_seq).ok()?;
        let again_bytes = self.again_bytes + unit.payloads.get(place)?.payload.len();
        if again_bytes > self.bytes {
            return None;
        }
        self.again_bytes = again_bytes;
        Some((unit, place))
    }

    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.units.front() {
            let is_young = now.saturating_duration_since(oldest.at) <= AGE_MAX;
            if is_young && self.packets <= PACKETS_MAX {
                break;
            }
            self.packets -= oldest.payloads.len();
            self.bytes -= oldest.bytes();
            self.units.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use media_core::remux::rtp::RtpPayload;

    use super::*;
    use crate::runtime::clock;

    fn unit(first_seq: u64, packets: usize, at: Instant) -> SentUnit {
        let payload = RtpPayload { payload: vec![7; 1000].into(), marker: false, offset_ticks: 0 };
        let extensions = [Arc::from([]), Arc::from([])];
        SentUnit { first_seq, rtp_timestamp: 0, payloads: vec![payload; packets].into(), extensions, at }
    }

    fn found(history: &mut History, seq: u16, now: Instant) -> Option<(u64, usize)> {
        history.again(seq, now).map(|(unit, place)| (unit.first_seq, place))
    }

    #[test]
    fn packets_are_found_by_their_16_bits_also_across_the_roll_over() {
        let (mut history, now) = (History::default(), clock::now());
        assert_eq!(found(&mut history, 0, now), None);
        for (first_seq, packets) in [(65_530, 4), (65_534, 3), (65_537, 5)] {
            history.keep(unit(first_seq, packets, now));
        }
        assert_eq!(found(&mut history, 65_530, now), Some((65_530, 0)));
        assert_eq!(found(&mut history, 65_533, now), Some((65_530, 3)));
        assert_eq!(found(&mut history, 0, now), Some((65_534, 2)));
        assert_eq!(found(&mut history, 5, now), Some((65_537, 4)));
        assert_eq!(found(&mut history, 6, now), None, "not sent yet");
        assert_eq!(found(&mut history, 65_529, now), None, "before the first");
        assert_eq!(found(&mut history, 5, now + AGE_MAX * 2), None, "too old");
        assert_eq!((history.packets, history.bytes), (0, 0));
    }

    #[test]
    fn what_is_kept_and_what_is_sent_again_is_bounded() {
        let (mut history, now) = (History::default(), clock::now());
        for n in 0..100 {
            history.keep(unit(n * 100, 100, now));
        }
        assert!(history.packets <= PACKETS_MAX && history.packets > PACKETS_MAX - 100);
        let asked = |history: &mut History, at| {
            (0..20_000).filter(|n| history.again(9900 + n % 100, at).is_some()).count()
        };
        assert_eq!(asked(&mut history, now), history.packets, "as much as is kept");
        assert_eq!(asked(&mut history, now), 0);
        assert!(asked(&mut history, now + BUDGET_INTERVAL) > 0, "a second later again");
    }
}
