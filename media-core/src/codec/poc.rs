//! Picture order: full picture order counts from their low bits, and what they say about the order.
//!
//! Spec: ITU-T H.264 s8.2.1.1, ITU-T H.265 s8.3.1 (the same arithmetic).

/// How a picture's output order stands to the pictures decoded before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureOrder {
    /// After all of them. `skipped` counts the pictures that the order leaves room for between this
    /// one and the latest: they come later in decode order, or never.
    Rising {
        /// Places left free before this picture.
        skipped: u32,
    },
    /// Before one of them: a B-picture in the sense that matters, one that is reordered.
    Earlier,
    /// The bitstream does not say (parameter sets missing, `pic_order_cnt_type` 1).
    Unknown,
}

/// The low bits of a picture's order count, as its slice header carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PocLsb {
    pub(crate) lsb: u32,
    /// Number of low bits, 4 to 16.
    pub(crate) lsb_bits: u32,
    /// Later pictures take their high bits from this one.
    pub(crate) is_reference: bool,
    /// Counts that one picture takes: 2 in H.264 (a count for each field), 1 in H.265.
    pub(crate) step: u32,
}

/// Follows the picture order of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct PocTracker {
    reference_msb: i64,
    reference_lsb: i64,
    highest: Option<i64>,
}

impl PocTracker {
    /// The next picture starts a new order (IDR, or the first CRA) with these low bits.
    pub(crate) fn restart(&mut self, lsb: u32) -> PictureOrder {
        let lsb = i64::from(lsb);
        *self = Self { reference_msb: 0, reference_lsb: lsb, highest: Some(lsb) };
        PictureOrder::Rising { skipped: 0 }
    }

    /// The next picture goes on.
    pub(crate) fn advance(&mut self, poc: PocLsb) -> PictureOrder {
        let range = 1_i64 << poc.lsb_bits.min(16);
        let lsb = i64::from(poc.lsb);
        let msb = if lsb < self.reference_lsb && self.reference_lsb - lsb >= range / 2 {
            self.reference_msb + range
        } else if lsb > self.reference_lsb && lsb - self.reference_lsb > range / 2 {
            self.reference_msb - range
        } else {
            self.reference_msb
        };
        if poc.is_reference {
            self.reference_msb = msb;
            self.reference_lsb = lsb;
        }
        let count = msb + lsb;
        match self.highest {
            Some(highest) if count == highest => PictureOrder::Unknown,
            Some(highest) if count < highest => PictureOrder::Earlier,
            Some(highest) => {
                self.highest = Some(count);
                let places = (count - highest) / i64::from(poc.step.max(1));
                PictureOrder::Rising { skipped: u32::try_from(places - 1).unwrap_or(0) }
            }
            None => {
                self.highest = Some(count);
                PictureOrder::Unknown
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(lsb: u32) -> PocLsb {
        PocLsb { lsb, lsb_bits: 4, is_reference: true, step: 2 }
    }

    fn disposable(lsb: u32) -> PocLsb {
        PocLsb { is_reference: false, ..reference(lsb) }
    }

    #[test]
    fn order_follows_a_pyramid_across_the_wrap_of_the_low_bits() {
        let mut order = PocTracker::default();
        assert_eq!(order.restart(0), PictureOrder::Rising { skipped: 0 });
        // I0 P6 B2 b4, then P12 B8 b10, then P18 (2 modulo 16).
        assert_eq!(order.advance(reference(6)), PictureOrder::Rising { skipped: 2 });
        assert_eq!(order.advance(reference(2)), PictureOrder::Earlier);
        assert_eq!(order.advance(disposable(4)), PictureOrder::Earlier);
        assert_eq!(order.advance(reference(8)), PictureOrder::Rising { skipped: 0 });
        assert_eq!(order.advance(reference(12)), PictureOrder::Rising { skipped: 1 });
        assert_eq!(order.advance(reference(2)), PictureOrder::Rising { skipped: 2 });
        assert_eq!(order.advance(reference(14)), PictureOrder::Earlier);
    }
}
