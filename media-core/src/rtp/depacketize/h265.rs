//! H.265 over RTP: single NAL units, aggregation packets and fragmentation units to access units.
//!
//! Spec: RFC 7798 s4.4.1, s4.4.2, s4.4.3, without DONL fields (`sprop-max-don-diff` 0, which is all
//! that cameras send) and without PACI. Deviations: a fragment with start and end both set is taken.
//! Limits: 16 VPS, 16 SPS and 64 PPS by their identifiers, `PARAMETER_SET_BYTES_MAX` each.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};

use super::assembly::{Assembler, NalClass, PictureSource};
use super::{Depacketized, EntryPoint, LossReason, PacketError, Picture};
use crate::codec::PictureOrder;
use crate::codec::h265::{
    self, H265Error, NAL_AUD, NAL_BLA_W_LP, NAL_CRA, NAL_IDR_N_LP, NAL_IRAP_LAST, NAL_PPS, NAL_RADL_N,
    NAL_RASL_N, NAL_RASL_R, NAL_SEI_PREFIX, NAL_SPS, NAL_VPS, Pps, Sps,
};
use crate::codec::nal::{length_prefixed, without_trailing_zeros};
use crate::codec::poc::{PocLsb, PocTracker};
use crate::rtp::RtpPacket;
use crate::track::{CodecConfig, H265Config};

const AP: u8 = 48;
const FU: u8 = 49;

/// Takes apart one H.265 track.
#[derive(Debug)]
pub struct H265Depacketizer {
    assembler: Assembler,
    pictures: Pictures,
}

impl H265Depacketizer {
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
        Self { assembler: Assembler::new(), pictures }
    }

    pub(super) fn poll(&mut self) -> Option<Depacketized> {
        self.assembler.poll()
    }

    pub(super) fn push(&mut self, packet: &RtpPacket) -> Result<(), PacketError> {
        self.assembler.begin_packet(packet, &mut self.pictures);
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
        let nal_type = h265::nal_type(nal.first().copied().unwrap_or(0));
        if !matches!(nal_type, NAL_VPS..=NAL_PPS) {
            return Ok(());
        }
        self.pictures.sets.store(nal).map_err(|_| PacketError::BadParameterSet { nal_type })
    }

    fn push_payload(&mut self, packet: &RtpPacket) -> Result<(), PacketError> {
        let Some(&first) = packet.payload.first() else { return Ok(()) };
        match h265::nal_type(first) {
            AP => self.push_aggregation(packet),
            FU => self.push_fragment(packet),
            0..AP => self.push_whole(packet.payload.clone(), packet),
            got => Err(PacketError::UnexpectedType { got }),
        }
    }

    /// RFC 7798 s4.4.2: sizes of 16 bits, each with a NAL unit behind it.
    fn push_aggregation(&mut self, packet: &RtpPacket) -> Result<(), PacketError> {
        let len = packet.payload.len();
        if len < 2 {
            return Err(PacketError::Truncated { what: "aggregation header", len });
        }
        let mut rest = packet.payload.slice(2..);
        while !rest.is_empty() {
            if rest.len() < 2 {
                return Err(PacketError::Truncated { what: "aggregation size", len });
            }
            let said = usize::from(rest.get_u16());
            if said > rest.len() {
                self.assembler.damage(LossReason::Malformed);
                return Err(PacketError::LengthMismatch { what: "aggregation size", said, got: rest.len() });
            }
            let nal = rest.split_to(said);
            self.push_whole(nal, packet)?;
        }
        Ok(())
    }

    /// RFC 7798 s4.4.3: payload header, FU header with start and end bits, fragment.
    fn push_fragment(&mut self, packet: &RtpPacket) -> Result<(), PacketError> {
        const START: u8 = 0x80;
        const END: u8 = 0x40;
        let Some((&[first, second, fu], _)) = packet.payload.split_first_chunk::<3>() else {
            return Err(PacketError::Truncated { what: "fu header", len: packet.payload.len() });
        };
        let nal_type = fu & 0x3f;
        let header = [first & 0x81 | nal_type << 1, second];
        let fragment = packet.payload.slice(3..);
        if fu & START != 0 {
            let begun = self.begin_nal(&header, &head_of(header, &fragment), packet);
            self.assembler.open_fragment();
            begun?;
        } else if !self.assembler.is_fragment_open() {
            if nal_type < NAL_VPS {
                self.assembler.on_orphan_slice();
            }
            if h265::is_random_access(nal_type) {
                self.assembler.mark_random_access();
            }
            return Err(PacketError::FragmentWithoutStart { nal_type });
        }
        let appended = self.assembler.append(fragment);
        if fu & END != 0 {
            self.assembler.close_fragment();
            if matches!(nal_type, NAL_VPS..=NAL_PPS) {
                // A parameter set that fills several packets is larger than any we read.
                return appended.and(Err(PacketError::BadParameterSet { nal_type }));
            }
        }
        appended
    }

    fn push_whole(&mut self, nal: Bytes, packet: &RtpPacket) -> Result<(), PacketError> {
        let Some(&first) = nal.first() else { return Ok(()) };
        if nal.len() < 2 {
            return Err(PacketError::Truncated { what: "nal unit header", len: nal.len() });
        }
        let nal_type = h265::nal_type(first);
        let begun = self.begin_nal(&[], &nal, packet);
        if let Err(PacketError::Oversized { .. }) = begun {
            return begun;
        }
        self.assembler.append(nal.clone())?;
        if matches!(nal_type, NAL_VPS..=NAL_PPS) {
            let stored = self.pictures.sets.store(&nal);
            return begun.and(stored.map_err(|_| PacketError::BadParameterSet { nal_type }));
        }
        begun
    }

    /// Tells the assembler what begins; `head` is the NAL unit or its first part.
    fn begin_nal(&mut self, header: &[u8], head: &[u8], packet: &RtpPacket) -> Result<(), PacketError> {
        let nal_type = h265::nal_type(head.first().copied().unwrap_or(0));
        let mut result = Ok(());
        if self.assembler.is_fragment_open() {
            self.assembler.abandon_fragment();
            result = Err(PacketError::UnfinishedFragment { nal_type });
        }
        let class = classify(head);
        self.assembler.begin_nal(header, class, packet, &mut self.pictures)?;
        if matches!(class, NalClass::Slice { .. }) {
            if self.pictures.current.is_none() {
                self.pictures.begin_picture(head);
            }
            if h265::is_random_access(nal_type) {
                self.assembler.mark_random_access();
            }
        }
        result
    }
}

/// The first bytes of a fragmented NAL unit: enough for its slice header.
fn head_of(header: [u8; 2], fragment: &Bytes) -> Vec<u8> {
    const HEAD_BYTES: usize = 64;
    let mut head = header.to_vec();
    head.extend_from_slice(fragment.get(..HEAD_BYTES.min(fragment.len())).unwrap_or(&[]));
    head
}

/// s7.4.2.4.4. Pictures of other layers than the base layer go with the picture under way.
fn classify(head: &[u8]) -> NalClass {
    let Some(&header) = head.first_chunk::<2>() else { return NalClass::Neutral };
    match h265::nal_type(header[0]) {
        nal_type if nal_type < NAL_VPS => {
            if h265::layer_id(header) > 0 {
                return NalClass::Neutral;
            }
            let is_first = h265::parse_slice_start(head).map_or(true, |slice| slice.is_first);
            NalClass::Slice { starts_picture: is_first, is_first }
        }
        NAL_VPS..=NAL_AUD | NAL_SEI_PREFIX | 41..=44 | 48..=55 => NalClass::Leading,
        _ => NalClass::Neutral,
    }
}

/// The parameter sets seen, by their identifiers.
#[derive(Debug, Default)]
struct ParameterSets {
    vps: BTreeMap<u8, Bytes>,
    sps: BTreeMap<u8, (Sps, Bytes)>,
    pps: BTreeMap<u8, (Pps, Bytes)>,
    /// The PPS that stands in the configuration; see the H.264 depacketizer.
    config_pps_id: Option<u8>,
}

impl ParameterSets {
    fn store(&mut self, nal: &[u8]) -> Result<(), H265Error> {
        let nal = without_trailing_zeros(nal);
        let owned = || Bytes::copy_from_slice(nal);
        match nal.first().copied().map(h265::nal_type) {
            Some(NAL_VPS) => {
                self.vps.insert(h265::parse_vps_id(nal)?, owned());
            }
            Some(NAL_SPS) => {
                let sps = Sps::parse(nal)?;
                self.sps.insert(sps.id, (sps, owned()));
            }
            _ => {
                let pps = Pps::parse(nal)?;
                if !self.sps.is_empty() && !self.sps.contains_key(&pps.sps_id) {
                    return Err(H265Error::UnknownSps { sps_id: pps.sps_id });
                }
                self.pps.insert(pps.id, (pps, owned()));
            }
        }
        Ok(())
    }

    fn active(&self, pps_id: u8) -> Option<(&Sps, &Pps)> {
        let (pps, _) = self.pps.get(&pps_id)?;
        self.sps.get(&pps.sps_id).map(|(sps, _)| (sps, pps))
    }

    fn config(&mut self, pps_id: u8) -> Option<H265Config> {
        let sps_id = self.pps.get(&pps_id)?.0.sps_id;
        let kept =
            self.config_pps_id.filter(|id| self.pps.get(id).is_some_and(|(pps, _)| pps.sps_id == sps_id));
        let chosen = kept.unwrap_or(pps_id);
        self.config_pps_id = Some(chosen);
        let (facts, sps) = self.sps.get(&sps_id)?;
        let vps = self.vps.get(&facts.vps_id)?;
        let (_, pps) = self.pps.get(&chosen)?;
        Some(H265Config::from_parsed(facts, [vps.clone(), sps.clone(), pps.clone()]))
    }
}

#[derive(Debug, Default)]
struct Pictures {
    sets: ParameterSets,
    order: PocTracker,
    has_order: bool,
    current: Option<Picture>,
}

impl Pictures {
    fn begin_picture(&mut self, head: &[u8]) {
        let header = head.first_chunk::<2>().copied().unwrap_or_default();
        let nal_type = h265::nal_type(header[0]);
        let is_random_access = h265::is_random_access(nal_type);
        let pps_id = h265::parse_slice_start(head).map_or(u8::MAX, |slice| slice.pps_id);
        let entry = match nal_type {
            _ if is_random_access => EntryPoint::RandomAccess,
            NAL_RASL_N | NAL_RASL_R => EntryPoint::SkippedLeading,
            _ => EntryPoint::None,
        };
        let (order, reorder_depth) = self.place(head, pps_id);
        let config = if is_random_access { self.sets.config(pps_id) } else { None };
        let config = config.map(|config| Box::new(CodecConfig::H265(config)));
        self.current = Some(Picture { entry, order, config, reorder_depth });
    }

    /// s8.3.1: IDR and BLA restart the order, CRA only as the first picture.
    fn place(&mut self, head: &[u8], pps_id: u8) -> (PictureOrder, Option<usize>) {
        let header = head.first_chunk::<2>().copied().unwrap_or_default();
        let nal_type = h265::nal_type(header[0]);
        let Some((sps, pps)) = self.sets.active(pps_id) else {
            self.has_order = false;
            return (PictureOrder::Unknown, None);
        };
        let depth = usize::try_from(sps.reorder_pictures).ok();
        let Ok(lsb) = h265::parse_poc_lsb(head, sps, pps) else { return (PictureOrder::Unknown, depth) };
        let restarts = match nal_type {
            NAL_BLA_W_LP..=NAL_IDR_N_LP => true,
            NAL_CRA..=NAL_IRAP_LAST => !self.has_order,
            _ => false,
        };
        if restarts {
            self.has_order = true;
            return (self.order.restart(lsb), depth);
        }
        if !self.has_order {
            return (PictureOrder::Unknown, depth);
        }
        let temporal_id_plus1 = header[1] & 7;
        // prevTid0Pic: lowest sub-layer, no leading picture, no sub-layer non-reference picture.
        let is_leading = matches!(nal_type, NAL_RADL_N..=NAL_RASL_R);
        let is_sub_layer_non_reference = nal_type < 16 && nal_type.is_multiple_of(2);
        let is_reference = temporal_id_plus1 == 1 && !is_leading && !is_sub_layer_non_reference;
        let poc = PocLsb { lsb, lsb_bits: sps.poc_lsb_bits, is_reference, step: 1 };
        (self.order.advance(poc), depth)
    }
}

impl PictureSource for Pictures {
    fn take_picture(&mut self) -> Option<Picture> {
        self.current.take()
    }
}
