//! Test rig: recorded packets with a virtual clock, and what another program says they hold.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::access_unit::AccessUnit;
use crate::codec::nal::length_prefixed;
use crate::ingest::{Ingest, IngestEvent, TrackSetup};
use crate::rtp::RtpPacket;
use crate::time::WallTime;
use crate::track::SharedFormat;

/// 2026-01-01T00:00:00Z.
pub(super) const WALL_START: WallTime = WallTime(1_767_225_600_000_000);

/// Session descriptions of the clips, as their packetizer gave them.
pub(super) const PYRAMID_FMTP: &str = "96 packetization-mode=1; sprop-parameter-sets=Z2QADKzZQ0V5f/wBAAC0QAAAAwBAAAAPA8UKZYA=,aOvhEsiw; profile-level-id=64000C";
pub(super) const OPEN_GOP_FMTP: &str =
    "96 packetization-mode=1; sprop-parameter-sets=Z2QADKzZQ0V5f/wBAAC0QAAAAwBAAAAPA8UKZYA=,aOvhksiw";
pub(super) const SLICES_FMTP: &str = "96 packetization-mode=1; sprop-parameter-sets=Z0LADNkBgd+WagwMDIAAAAMBAAADABkHihUk,aMuBMsg=; profile-level-id=42C00C";
pub(super) const H265_FMTP: &str = "96 sprop-vps=QAEMAf//AWAAAAMAkAAAAwAAAwA8lZgJ; sprop-sps=QgEBAWAAAAMAkAAAAwAAAwA8oBkgKFllZpJMr/8AQAAtacIAAAMAAgAAAwA8EA==; sprop-pps=RAHBcrRiQA==";
pub(super) const AAC_FMTP: &str = "96 streamtype=5; profile-level-id=2; mode=AAC-hbr; config=1190; sizelength=13; indexlength=3; indexdeltalength=3";

pub(super) fn epoch() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "an Instant can be made in no other way")]
    Instant::now()
}

pub(super) fn video(encoding: &str, fmtp: Option<&str>) -> TrackSetup {
    TrackSetup {
        encoding: encoding.to_owned(),
        clock_rate: 90_000,
        channels: None,
        fmtp: fmtp.map(str::to_owned),
        rtp_info_timestamp: None,
    }
}

/// A recorded RTP packet.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: Bytes,
}

/// Reads RFC 4571 frames.
pub(super) fn read_dump(dump: &'static [u8]) -> Vec<Recorded> {
    let mut rest = dump;
    let mut packets = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let (packet, after) = after.split_at(usize::from(u16::from_be_bytes(*len)));
        rest = after;
        assert_eq!(packet[0] & 0x3f, 0, "no padding, extension or CSRC in the dumps");
        packets.push(Recorded {
            seq: u16::from_be_bytes([packet[2], packet[3]]),
            timestamp: u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]),
            marker: packet[1] & 0x80 != 0,
            payload: Bytes::from_static(&packet[12..]),
        });
    }
    packets
}

/// One line of ffmpeg's framecrc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) dts: i64,
    pub(super) pts: i64,
    pub(super) size: usize,
    pub(super) adler: u32,
    pub(super) is_key: bool,
}

/// Reads a framecrc list, with its times in ticks of `hz`.
pub(super) fn read_list(list: &str, hz: i64) -> Vec<Listed> {
    let base = list.lines().find_map(|line| line.strip_prefix("#tb 0: ")).unwrap();
    let (numerator, denominator) = base.split_once('/').unwrap();
    let scale = |ticks: &str| {
        let ticks: i64 = ticks.parse().unwrap();
        ticks * numerator.parse::<i64>().unwrap() * hz / denominator.parse::<i64>().unwrap()
    };
    list.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            Listed {
                dts: scale(fields[1]),
                pts: scale(fields[2]),
                size: fields[4].parse().unwrap(),
                adler: u32::from_str_radix(fields[5].trim_start_matches("0x"), 16).unwrap(),
                is_key: fields.get(6).is_none_or(|flags| flags.trim_start_matches("F=0x").ends_with('1')),
            }
        })
        .collect()
}

/// ffmpeg's checksum of a packet: Adler-32 that starts at 0.
pub(super) fn adler(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((0_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

/// An ingest with a virtual clock, fed with recorded packets.
pub(super) struct Rig {
    pub(super) ingest: Ingest,
    pub(super) epoch: Instant,
    /// By how much our wall clock was set.
    set_us: i64,
    pub(super) formats: Vec<SharedFormat>,
    pub(super) units: Vec<AccessUnit>,
    /// Generation of the format that each unit came under.
    pub(super) generations: Vec<u64>,
}

impl Rig {
    pub(super) fn new(setups: &[TrackSetup]) -> Self {
        let epoch = epoch();
        let mut ingest = Ingest::new(epoch);
        ingest.start(setups, epoch).unwrap();
        Self { ingest, epoch, set_us: 0, formats: vec![], units: vec![], generations: vec![] }
    }

    /// Sets our wall clock, ahead or back.
    pub(super) fn set_clock(&mut self, ahead_us: i64) {
        self.set_us = ahead_us;
    }

    /// Feeds one packet at a time since the epoch; `lost` packets are missing before it.
    pub(super) fn feed_after_loss(&mut self, track: usize, packet: &Recorded, at: Duration, lost: u32) {
        let packet = RtpPacket {
            seq: packet.seq,
            rtp_timestamp: packet.timestamp,
            marker: packet.marker,
            payload: packet.payload.clone(),
            arrival: self.epoch + at,
            arrival_wall: WALL_START.plus_us(i64::try_from(at.as_micros()).unwrap() + self.set_us),
            lost_before: lost,
        };
        self.ingest.handle_rtp(track, &packet).unwrap_or_else(|error| {
            tracing::debug!(%error, "packet refused");
        });
        self.drain();
    }

    pub(super) fn feed(&mut self, track: usize, packet: &Recorded, at: Duration) {
        self.feed_after_loss(track, packet, at, 0);
    }

    fn drain(&mut self) {
        while let Some(event) = self.ingest.poll_event() {
            match event {
                IngestEvent::Format(format) => self.formats.push(format),
                IngestEvent::Unit(unit) => {
                    self.generations.push(self.formats.last().unwrap().generation);
                    self.units.push(unit);
                }
            }
        }
    }

    /// Feeds a track's packets, each when its timestamp first shows, plus 20 ms.
    pub(super) fn feed_all(&mut self, track: usize, packets: &[Recorded], hz: u64) {
        for (packet, at) in packets.iter().zip(arrivals(packets, hz)) {
            self.feed(track, packet, at);
        }
    }

    /// Checks what holds whatever the camera does.
    pub(super) fn check_invariants(&self) {
        for track in 0..4 {
            let units: Vec<_> = self.units.iter().filter(|unit| unit.track.0 == track).collect();
            for unit in &units {
                assert!(unit.dts_ticks <= unit.pts_ticks, "{unit:?}");
                assert!(unit.dts_ticks >= 0, "{unit:?}");
            }
            for pair in units.windows(2) {
                assert!(
                    pair[0].dts_ticks < pair[1].dts_ticks,
                    "{} then {}",
                    pair[0].dts_ticks,
                    pair[1].dts_ticks
                );
            }
        }
        assert!(self.formats.windows(2).all(|pair| pair[0].generation < pair[1].generation));
        for (n, unit) in self.units.iter().enumerate() {
            let is_first = n == 0 || self.generations[n - 1] != self.generations[n];
            assert!(!is_first || unit.is_random_access, "unit {n} begins a format");
        }
    }
}

/// When each packet arrives: as its timestamp rises, 20 ms after the start.
pub(super) fn arrivals(packets: &[Recorded], hz: u64) -> Vec<Duration> {
    let first = packets[0].timestamp;
    let mut highest = 0;
    packets
        .iter()
        .map(|packet| {
            let ticks = packet.timestamp.wrapping_sub(first).cast_signed();
            highest = highest.max(u64::try_from(ticks.max(0)).unwrap());
            Duration::from_micros(20_000 + highest * 1_000_000 / hz)
        })
        .collect()
}

/// Sizes of the NAL units of a unit that are not parameter sets or delimiters, by their type.
pub(super) fn without_parameter_sets(payload: &[u8], is_set: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut kept = Vec::new();
    for nal in length_prefixed(payload).filter(|nal| !is_set(nal[0])) {
        kept.extend_from_slice(&u32::try_from(nal.len()).unwrap().to_be_bytes());
        kept.extend_from_slice(nal);
    }
    kept
}
