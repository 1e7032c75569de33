//! H.264 over RTP: single NAL units, STAP-A and FU-A to access units.
//!
//! Spec: RFC 6184 s5.6, s5.7.1, s5.8 (packetization modes 0 and 1). Deviations, for cameras: a
//! fragment with start and end both set is a whole NAL unit; start codes inside parameter set
//! packets (`00 00 01`, which no NAL unit can hold) separate NAL units.
//! Limits: 32 SPS and 256 PPS by their identifiers, `PARAMETER_SET_BYTES_MAX` each.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};

use super::assembly::{Assembler, NalClass, PictureSource};
use super::{Depacketized, EntryPoint, PacketError, Picture};
use crate::codec::PictureOrder;
use crate::codec::h264::{
    self, H264Error, NAL_AUD, NAL_IDR, NAL_PPS, NAL_SEI, NAL_SLICE, NAL_SPS, Pps, SliceHeader, SliceStart,
    Sps,
};
use crate::codec::nal::{annex_b, length_prefixed, start_code, without_trailing_zeros};
use crate::codec::poc::{PocLsb, PocTracker};
use crate::rtp::RtpPacket;
use crate::track::{CodecConfig, H264Config};

const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Takes apart one H.264 track.
#[derive(Debug)]
pub struct H264Depacketizer {
    assembler: Assembler,
    pictures: Pictures,
    /// A fragmented parameter set, put together aside so that it can be read as a whole.
    aside: Option<BytesMut>,
}

impl H264Depacketizer {
    /// A machine that knows `parameter_sets` (NAL units with header) from the session description.
    ///
    /// Those that can't be parsed are passed over: the ones in band will do.
    pub fn new<'a>(parameter_sets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut pictures = Pictures::default();
        for nal in parameter_sets {
            if pictures.sets.store(nal).is_err() {
                tracing::debug!(
                    bytes = nal.len(),
                    "parameter set of the session description can't be parsed"
                );
            }
        }
        Self { assembler: Assembler::new(), pictures, aside: None }
    }

    pub(super) fn poll(&mut self) -> Option<Depacketized> {
        self.assembler.poll()
    }

    pub(super) fn push(&mut self, packet: &RtpPacket) -> Result<(), PacketError> {
        self.assembler.begin_packet(packet, &mut self.pictures);
        if packet.lost_before > 0 {
            self.aside = None;
        }
        let result = self.push_payload(packet);
        self.assembler.end_packet(packet, &mut self.pictures);
        result
    }

    pub(super) fn push_unit(&mut self, unit: &RtpPacket) -> Result<(), PacketError> {
        self.assembler.begin_packet(unit, &mut self.pictures);
        let mut result = Ok(());
        for nal in length_prefixed(&unit.payload) {
            result = result.and(self.push_whole(unit.payload.slice_ref(nal), unit));
        }
        self.assembler.end_unit(&mut self.pictures);
        result
    }

    pub(super) fn learn(&mut self, nal: &[u8]) -> Result<(), PacketError> {
        let nal_type = h264::nal_type(nal.first().copied().unwrap_or(0));
        if !matches!(nal_type, NAL_SPS | NAL_PPS) {
            return Ok(());
        }
        self.pictures.sets.store(nal).map_err(|_| PacketError::BadParameterSet { nal_type })
    }

    fn push_payload(&mut self, packet: &RtpPacket) -> Result<(), PacketError> {
        let Some(&indicator) = packet.payload.first() else { return Ok(()) };
        match h264::nal_type(indicator) {
            STAP_A => self.push_stap_a(packet),
            FU_A => self.push_fu_a(packet),
            0..=23 => self.push_whole(packet.payload.clone(), packet),
            got => Err(PacketError::UnexpectedType { got }),
        }
    }

    /// RFC 6184 s5.7.1: sizes of 16 bits, each with a NAL unit behind it.
    fn push_stap_a(&mut self, packet: &RtpPacket) -> Result<(), PacketError> {
        let mut rest = packet.payload.slice(1..);
        while !rest.is_empty() {
            if rest.len() < 2 {
                return Err(PacketError::Truncated { what: "stap-a size", len: packet.payload.len() });
            }
            let said = usize::from(rest.get_u16());
            if said > rest.len() {
                self.assembler.damage(super::LossReason::Malformed);
                return Err(PacketError::LengthMismatch { what: "stap-a size", said, got: rest.len() });
            }
            let nal = rest.split_to(said);
            self.push_whole(nal, packet)?;
        }
        Ok(())
    }

    /// RFC 6184 s5.8: indicator, header with start and end bits, fragment.
    fn push_fu_a(&mut self, packet: &RtpPacket) -> Result<(), PacketError> {
        const START: u8 = 0x80;
        const END: u8 = 0x40;
        let (Some(&indicator), Some(&fu)) = (packet.payload.first(), packet.payload.get(1)) else {
            return Err(PacketError::Truncated { what: "fu-a header", len: packet.payload.len() });
        };
        let header = indicator & 0xe0 | h264::nal_type(fu);
        let fragment = packet.payload.slice(2..);
        if matches!(h264::nal_type(fu), NAL_SPS..=NAL_AUD) {
            return self.push_fragment_aside((header, fu & START != 0, fu & END != 0), &fragment, packet);
        }
        if fu & START != 0 {
            let begun = self.begin_nal(&[header], &head_of(header, &fragment), packet);
            self.assembler.open_fragment();
            begun?;
        } else if !self.assembler.is_fragment_open() {
            let nal_type = h264::nal_type(fu);
            if matches!(nal_type, NAL_SLICE..=NAL_IDR) {
                self.assembler.on_orphan_slice();
            }
            if nal_type == NAL_IDR {
                self.assembler.mark_random_access();
            }
            return Err(PacketError::FragmentWithoutStart { nal_type });
        }
        let appended = self.assembler.append(fragment);
        if fu & END != 0 {
            self.assembler.close_fragment();
        }
        appended
    }

    /// Fragments of a parameter set or delimiter: `(header, is_start, is_end)`.
    fn push_fragment_aside(
        &mut self,
        (header, is_start, is_end): (u8, bool, bool),
        fragment: &Bytes,
        packet: &RtpPacket,
    ) -> Result<(), PacketError> {
        let nal_type = h264::nal_type(header);
        if is_start {
            self.aside = Some(BytesMut::from(&[header][..]));
        }
        let Some(aside) = &mut self.aside else {
            return Err(PacketError::FragmentWithoutStart { nal_type });
        };
        // Some cameras put the parameter sets and the whole key frame behind them into one.
        let limit = crate::access_unit::ACCESS_UNIT_BYTES_MAX;
        if aside.len() + fragment.len() > limit {
            self.aside = None;
            return Err(PacketError::Oversized { what: "bytes", limit });
        }
        aside.extend_from_slice(fragment);
        if !is_end {
            return Ok(());
        }
        let whole = self.aside.take().unwrap_or_default().freeze();
        self.push_whole(whole, packet)
    }

    /// A NAL unit in one piece; start codes inside are looked for where cameras put them.
    fn push_whole(&mut self, nal: Bytes, packet: &RtpPacket) -> Result<(), PacketError> {
        let Some(&header) = nal.first() else { return Ok(()) };
        let may_hold_start_codes = matches!(h264::nal_type(header), 0 | NAL_SPS..=NAL_AUD);
        match may_hold_start_codes.then(|| start_code(&nal)).flatten() {
            None => self.push_nal(nal, packet),
            Some(at) => {
                let first = without_trailing_zeros(nal.get(..at).unwrap_or(&[]));
                let mut result = Ok(());
                for part in std::iter::once(first).chain(annex_b(&nal)).filter(|part| !part.is_empty()) {
                    result = result.and(self.push_nal(nal.slice_ref(part), packet));
                }
                result
            }
        }
    }

    fn push_nal(&mut self, nal: Bytes, packet: &RtpPacket) -> Result<(), PacketError> {
        let Some(&header) = nal.first() else { return Ok(()) };
        let nal_type = h264::nal_type(header);
        let mut result = Ok(());
        if self.assembler.is_fragment_open() {
            self.assembler.abandon_fragment();
            result = Err(PacketError::UnfinishedFragment { nal_type });
        }
        let head = nal.clone();
        self.begin_nal(&[], &head, packet)?;
        self.assembler.append(nal)?;
        if matches!(nal_type, NAL_SPS | NAL_PPS) {
            let stored = self.pictures.sets.store(&head);
            result = result.and(stored.map_err(|_| PacketError::BadParameterSet { nal_type }));
        }
        result
    }

    /// Tells the assembler what begins; `head` is the NAL unit or its first part.
    fn begin_nal(&mut self, header: &[u8], head: &[u8], packet: &RtpPacket) -> Result<(), PacketError> {
        let mut result = Ok(());
        if self.assembler.is_fragment_open() {
            self.assembler.abandon_fragment();
            let nal_type = h264::nal_type(head.first().copied().unwrap_or(0));
            result = Err(PacketError::UnfinishedFragment { nal_type });
        }
        let slice = self.pictures.read_slice(head);
        let class = self.pictures.classify(head, slice.as_ref());
        self.assembler.begin_nal(header, class, packet, &mut self.pictures)?;
        self.pictures.take_nal(head, slice);
        if h264::nal_type(head.first().copied().unwrap_or(0)) == NAL_IDR {
            self.assembler.mark_random_access();
        }
        result
    }
}

/// The first bytes of a fragmented NAL unit: enough for its slice header.
fn head_of(header: u8, fragment: &Bytes) -> Vec<u8> {
    const HEAD_BYTES: usize = 64;
    let mut head = vec![header];
    head.extend_from_slice(fragment.get(..HEAD_BYTES.min(fragment.len())).unwrap_or(&[]));
    head
}

/// The parameter sets seen, by their identifiers.
#[derive(Debug, Default)]
struct ParameterSets {
    sps: BTreeMap<u8, (Sps, Bytes)>,
    pps: BTreeMap<u8, (Pps, Bytes)>,
    /// The PPS that stands in the configuration. It stays the same while it is good, so that pictures
    /// that take turns with several PPS do not look like changes.
    config_pps_id: Option<u8>,
}

impl ParameterSets {
    fn store(&mut self, nal: &[u8]) -> Result<(), H264Error> {
        let nal = without_trailing_zeros(nal);
        let owned = || Bytes::copy_from_slice(nal);
        if nal.first().copied().map(h264::nal_type) == Some(NAL_SPS) {
            let sps = Sps::parse(nal)?;
            self.sps.insert(sps.id, (sps, owned()));
        } else {
            let pps = Pps::parse(nal)?;
            // A damaged one must not push out the good one; cameras send the SPS first.
            if !self.sps.is_empty() && !self.sps.contains_key(&pps.sps_id) {
                return Err(H264Error::UnknownSps { sps_id: pps.sps_id });
            }
            self.pps.insert(pps.id, (pps, owned()));
        }
        Ok(())
    }

    /// The SPS that a slice with this PPS uses. Without the PPS, the only SPS there is.
    fn sps_of(&self, pps_id: u32) -> Option<&Sps> {
        let pps_id = u8::try_from(pps_id).ok()?;
        let sps = match self.pps.get(&pps_id) {
            Some((pps, _)) => self.sps.get(&pps.sps_id),
            None if self.sps.len() == 1 => self.sps.values().next(),
            None => None,
        };
        sps.map(|(sps, _)| sps)
    }

    fn config(&mut self, pps_id: u32) -> Option<H264Config> {
        let used = u8::try_from(pps_id).ok()?;
        let sps_id = self.pps.get(&used)?.0.sps_id;
        let kept =
            self.config_pps_id.filter(|id| self.pps.get(id).is_some_and(|(pps, _)| pps.sps_id == sps_id));
        let chosen = kept.unwrap_or(used);
        self.config_pps_id = Some(chosen);
        let (facts, sps) = self.sps.get(&sps_id)?;
        let (_, pps) = self.pps.get(&chosen)?;
        Some(H264Config::from_parsed(facts, sps.clone(), pps.clone()))
    }
}

/// A slice as far as it could be read.
#[derive(Debug)]
struct Slice {
    start: SliceStart,
    header: Option<SliceHeader>,
}

/// What is collected about the picture under way.
#[derive(Debug)]
struct Current {
    picture: Picture,
    first: Option<Slice>,
}

#[derive(Debug, Default)]
struct Pictures {
    sets: ParameterSets,
    order: PocTracker,
    current: Option<Current>,
    has_recovery_point: bool,
}

impl Pictures {
    fn read_slice(&self, head: &[u8]) -> Option<Slice> {
        let start = h264::parse_slice_start(head).ok()?;
        let header = self.sets.sps_of(start.pps_id).and_then(|sps| SliceHeader::parse(head, sps).ok());
        Some(Slice { start, header })
    }

    /// H.264 s7.4.1.2.3 and s7.4.1.2.4.
    fn classify(&self, head: &[u8], slice: Option<&Slice>) -> NalClass {
        match head.first().copied().map(h264::nal_type) {
            Some(NAL_SLICE | 2 | NAL_IDR) => {
                let is_first = slice.is_none_or(|slice| slice.start.first_mb == 0);
                NalClass::Slice { starts_picture: is_first && !self.is_in_current_frame(slice), is_first }
            }
            Some(NAL_SEI..=NAL_AUD | 14..=18) => NalClass::Leading,
            _ => NalClass::Neutral,
        }
    }

    /// A first slice may be the second field of the frame under way, or a redundant one.
    fn is_in_current_frame(&self, slice: Option<&Slice>) -> bool {
        let Some(Current { first: Some(first), .. }) = &self.current else { return false };
        match (&first.header, slice.and_then(|slice| slice.header.as_ref())) {
            (Some(a), Some(b)) => a.is_field && b.is_field && a.is_same_frame(b),
            _ => false,
        }
    }

    fn take_nal(&mut self, head: &[u8], slice: Option<Slice>) {
        match head.first().copied().map(h264::nal_type) {
            Some(NAL_SLICE | 2 | NAL_IDR) if self.current.is_none() => self.begin_picture(head, slice),
            Some(NAL_SEI) => self.has_recovery_point |= h264::is_recovery_point(head),
            _ => {}
        }
    }

    fn begin_picture(&mut self, head: &[u8], slice: Option<Slice>) {
        let is_idr = head.first().copied().map(h264::nal_type) == Some(NAL_IDR);
        let is_recovery_point = std::mem::take(&mut self.has_recovery_point) && !is_idr;
        let sps = slice.as_ref().and_then(|slice| self.sets.sps_of(slice.start.pps_id));
        let reorder_depth = sps.and_then(Sps::reorder_depth);
        let order = match (sps, slice.as_ref().and_then(|slice| slice.header.as_ref())) {
            _ if is_idr => {
                let lsb = slice.as_ref().and_then(|slice| slice.header?.poc_lsb);
                self.order.restart(lsb.unwrap_or(0))
            }
            (Some(sps), _) if sps.poc_type == 2 => PictureOrder::Rising { skipped: 0 },
            (Some(sps), Some(&SliceHeader { poc_lsb: Some(lsb), is_reference, .. })) => {
                self.order.advance(PocLsb { lsb, lsb_bits: sps.poc_lsb_bits, is_reference, step: 2 })
            }
            _ => PictureOrder::Unknown,
        };
        let entry = match (is_idr, is_recovery_point) {
            (true, _) => EntryPoint::RandomAccess,
            (false, true) => EntryPoint::RecoveryPoint,
            (false, false) => EntryPoint::None,
        };
        let config = if entry == EntryPoint::None {
            None
        } else {
            slice
                .as_ref()
                .and_then(|slice| self.sets.config(slice.start.pps_id))
                .map(|config| Box::new(CodecConfig::H264(config)))
        };
        let picture = Picture { entry, order, config, reorder_depth };
        self.current = Some(Current { picture, first: slice });
    }
}

impl PictureSource for Pictures {
    fn take_picture(&mut self) -> Option<Picture> {
        self.current.take().map(|current| current.picture)
    }
}
