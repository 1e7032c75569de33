//! Stand-in for media_core::remux::rtp until it lands.
use bytes::{BufMut, Bytes, BytesMut};
use media_core::access_unit::AccessUnit;
use media_core::track::{CodecConfig, TrackInfo};

#[derive(Debug)]
pub(crate) struct RtpPayload {
    pub(crate) payload: Bytes,
    pub(crate) marker: bool,
}

#[derive(Debug)]
pub(crate) struct Packetizer {
    info: TrackInfo,
    max: usize,
}

impl Packetizer {
    pub(crate) fn new(info: &TrackInfo, max: usize) -> Self {
        Self { info: info.clone(), max }
    }
    pub(crate) fn packetize(&mut self, unit: &AccessUnit) -> Vec<RtpPayload> {
        let CodecConfig::H264(config) = &self.info.codec else {
            return vec![RtpPayload { payload: unit.payload.clone(), marker: true }];
        };
        let mut nals: Vec<Bytes> = Vec::new();
        let mut rest = unit.payload.clone();
        while rest.len() > 4 {
            let len = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let _ = rest.split_to(4);
            nals.push(rest.split_to(len.min(rest.len())));
        }
        if unit.is_random_access && !nals.iter().any(|n| n[0] & 31 == 7) {
            nals.insert(0, config.pps.clone());
            nals.insert(0, config.sps.clone());
        }
        let mut out = Vec::new();
        for nal in nals {
            if nal.len() <= self.max {
                out.push(RtpPayload { payload: nal, marker: false });
                continue;
            }
            let head = nal[0];
            let chunks: Vec<&[u8]> = nal[1..].chunks(self.max - 2).collect();
            for (i, c) in chunks.iter().enumerate() {
                let mut b = BytesMut::new();
                b.put_u8(head & 0xe0 | 28);
                b.put_u8(
                    head & 31 | if i == 0 { 0x80 } else { 0 } | if i + 1 == chunks.len() { 0x40 } else { 0 },
                );
                b.put_slice(c);
                out.push(RtpPayload { payload: b.freeze(), marker: false });
            }
        }
        if let Some(l) = out.last_mut() {
            l.marker = true;
        }
        out
    }
}
