//! Clip: recorded parts as one MP4: a head, and pieces of files.
//!
//! ```text
//!  file:   │ part │ part │ part │ part │ ... │ part │ part │ part │
//!             └ GOP start    ↑ asked                    ↑ until
//!  clip:   head │ new moof, mdat │ parts, moved in time as they stream │ new moof, mdat
//! ```
//!
//! The first and the last parts are read, and get heads of their own (-> `media_core::remux::fmp4::cut`); what lies between is
//! not looked at: its heads keep their length. So the length is known before the first byte is sent, whatever the
//! clip's own. A plain MP4's tables take a look at the head of each part.
//!
//! A clip ends where the codec's parameters change: one MP4 has one init segment.
//! Limits: [`EDGE_PARTS_MAX`].

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use media_core::egress::recorder::index::place;
use media_core::gate::CameraGrant;
use media_core::remux::fmp4::cut::{Before, Cut, Placement, TrackPlacement};
use media_core::remux::fmp4::progressive::Tables;
use media_core::remux::fmp4::seek::{InitTrack, TrackEdit, clip_init, plain_init, tracks};
use media_core::time::{Timescale, WallTime, rescale};

use super::{ClipFormat, ClipPlan, ClipRequest, GapRule, PlaybackError, RunPlan, fault, malformed};
use crate::catalogue::FileRow;
use crate::source::{ReadAt as _, Source};
use crate::walk::{PartInFile, part_at};

/// Parts read before the asked time, and behind the end: of a GOP of ten minutes. What goes on longer is shown whole.
const EDGE_PARTS_MAX: usize = 3000;

/// A stretch of recorded media: one MP4.
#[derive(Clone, Debug)]
pub struct Clip {
    /// What comes before the pieces.
    pub(super) head: Bytes,
    pub(super) pieces: Vec<Piece>,
    pub(super) files: Vec<FileRow>,
    /// Of a plain MP4: the recorded parts whose payloads it is made of, in order.
    pub(super) parts: Vec<ClipPart>,
    /// When its first picture was taken.
    pub(super) start: WallTime,
    /// When the last one ends.
    pub(super) end: WallTime,
}

/// A recorded part of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClipPart {
    /// Position of its file among the clip's.
    pub(crate) file: usize,
    /// Where its moof begins.
    pub(crate) offset: u64,
}

/// What follows the head, in order.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Where it begins in the clip.
    pub(super) at: u64,
    pub(super) len_bytes: u64,
    pub(super) content: Content,
}

/// What a piece is made of.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Bytes that are in no file.
    Made(Bytes),
    /// Bytes of a file as they are.
    Same { file: usize, from: u64 },
    /// Whole parts of a file, moved in time.
    Moved { file: usize, from: u64, placement: Arc<Placement> },
}

impl Clip {
    /// All its bytes.
    pub fn len_bytes(&self) -> u64 {
        let head = u64::try_from(self.head.len()).unwrap_or(0);
        self.pieces.last().map_or(head, |last| last.at + last.len_bytes)
    }

    /// Differs when the bytes do: of what it was made, how far that had come.
    pub fn tag(&self) -> String {
        let name = |file: &FileRow| (file.start.unix_us(), file.extent.bytes);
        let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
        let files = self
            .files
            .iter()
            .map(name)
            .flat_map(|(start, bytes)| start.to_be_bytes().into_iter().chain(bytes.to_be_bytes()));
        // FNV-1a: names versions of our own files, defends against nobody.
        for byte in self.head.iter().copied().chain(files) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        format!("\"{:x}-{sum:x}\"", self.len_bytes())
    }
}

impl ClipPlan {
    /// Looks into the files; blocks. The grant proves that the gate let the caller at this camera.
    ///
    /// # Errors
    /// [`PlaybackError`] when a file can't be read or is not what the catalogue says.
    pub fn clip(&self, _grant: &CameraGrant) -> Result<Option<Clip>, PlaybackError> {
        let mut builder = Builder::new(self.request);
        for run in &self.runs {
            if !builder.add(run)? {
                break;
            }
        }
        builder.finish()
    }
}

impl ClipPlan {
    /// The same as a clip for each run, with the time of its first file's first picture; blocks.
    pub(crate) fn clips_of_runs(
        &self,
        _grant: &CameraGrant,
    ) -> impl Iterator<Item = Result<Clip, PlaybackError>> {
        self.runs.iter().filter_map(|run| {
            let mut builder = Builder::new(self.request);
            builder.add(run).and_then(|_| builder.finish()).transpose()
        })
    }
}

impl Clip {
    /// What comes before the payloads.
    pub(crate) fn head(&self) -> &Bytes {
        &self.head
    }

    /// The recorded parts that it is made of.
    pub(crate) fn parts(&self) -> &[ClipPart] {
        &self.parts
    }

    /// The recorded files.
    pub(crate) fn files(&self) -> &[FileRow] {
        &self.files
    }

    /// When its first picture was taken, and when it ends.
    pub(crate) fn time(&self) -> (WallTime, WallTime) {
        (self.start, self.end)
    }
}

/// Opens one file after the other.
struct RunFiles<'a> {
    rows: &'a [FileRow],
    open: Option<(usize, Source)>,
}

/// Where the next part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    file: usize,
    offset: u64,
}

impl RunFiles<'_> {
    fn open(&mut self, index: usize) -> Result<Option<(&FileRow, &Source)>, PlaybackError> {
        let Some(row) = self.rows.get(index) else { return Ok(None) };
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            self.open = Some((index, Source::open(row).map_err(|error| fault(row, error))?));
        }
        Ok(self.open.as_ref().map(|(_, file)| (row, file)))
    }

    /// What stands before the first part of a file.
    fn head(&mut self, index: usize) -> Result<Vec<u8>, PlaybackError> {
        let Some((row, file)) = self.open(index)? else { return Ok(Vec::new()) };
        let mut head = vec![0; usize::try_from(row.first_offset).unwrap_or(0)];
        file.read_exact_at(&mut head, 0).map_err(|error| fault(row, error))?;
        Ok(head)
    }

    /// The part at a position, which moves behind it; `None` behind the last.
    fn next(&mut self, position: &mut Position) -> Result<Option<(usize, PartInFile)>, PlaybackError> {
        while let Some((row, file)) = self.open(position.file)? {
            let part = if position.offset < row.extent.bytes {
                part_at(file, position.offset, row.extent.bytes).map_err(|error| fault(row, error))?
            } else {
                None
            };
            if let Some(part) = part {
                let file = position.file;
                position.offset += part.len_bytes;
                return Ok(Some((file, part)));
            }
            position.file += 1;
            position.offset = self.rows.get(position.file).map_or(0, |row| row.first_offset);
        }
        Ok(None)
    }
}

/// What is found where a clip begins.
struct Entry {
    /// Presentation time of the picture that is shown at the asked time, ticks of the leading track.
    asked_ticks: i64,
    /// Decode time of the first sample of the leading track.
    first_ticks: i64,
    /// The earliest decode time of any track, ticks of the leading one, rounded down.
    earliest_ticks: i64,
    sequence_number: u32,
}

/// What a run's file begins with.
struct Init {
    /// The same for all files of which one MP4 can be made.
    plain: Bytes,
    tracks: Vec<InitTrack>,
    lead: InitTrack,
}

/// What all runs of a clip have in common.
struct Common {
    plain: Bytes,
    tracks: Vec<InitTrack>,
    lead: InitTrack,
    edits: Vec<TrackEdit>,
    /// The clip's time of what is shown first.
    begin_ticks: i64,
    /// What is empty before.
    empty_ticks: i64,
    start: WallTime,
}

struct Builder {
    request: ClipRequest,
    common: Option<Common>,
    /// The clip's times at which the tracks end.
    ends: Vec<(u32, i64)>,
    shown_end_ticks: i64,
    next_sequence: u32,
    files: Vec<FileRow>,
    pieces: Vec<Piece>,
    parts: Vec<ClipPart>,
    bytes: u64,
    tables: Tables,
}

/// One run while it is added.
struct Run<'a> {
    files: RunFiles<'a>,
    /// Position of its first file among the clip's.
    first_file: usize,
    placement: Arc<Placement>,
}

impl Builder {
    fn new(request: ClipRequest) -> Self {
        Self {
            request,
            common: None,
            ends: Vec::new(),
            shown_end_ticks: 0,
            next_sequence: 0,
            files: Vec::new(),
            pieces: Vec::new(),
            parts: Vec::new(),
            bytes: 0,
            tables: Tables::default(),
        }
    }

    /// Adds a run; false when the clip ends before it.
    fn add(&mut self, plan: &RunPlan) -> Result<bool, PlaybackError> {
        let Some(first) = plan.files.first() else { return Ok(true) };
        let mut files = RunFiles { rows: &plan.files, open: None };
        let head = files.head(0)?;
        let plain = plain_init(&head).map_err(|error| malformed(first, error))?;
        if self.common.as_ref().is_some_and(|common| common.plain != plain) {
            return Ok(false);
        }
        let tracks = tracks(&head).map_err(|error| malformed(first, error))?;
        let Some(lead) = tracks.first().copied() else { return Ok(false) };
        let init = Init { plain, tracks, lead };
        let composition = plan.first_gops.first().map_or(0, |gop| gop.composition_offset_ticks);
        // When the file's first picture is shown.
        let zero = first.first_ticks + composition;
        let ticks_at = |wall: WallTime| zero + first.timescale.us_to_ticks(wall.us_since(first.start));
        let asked = ticks_at(self.request.start).max(zero);
        let enter = Position { file: 0, offset: gop_before(plan, asked - zero) };
        let Some(entry) = look(&mut files, enter, asked, &init.tracks)? else { return Ok(true) };
        let until = ticks_at(self.request.until());
        let at = match &self.common {
            None => self.begin(first, init, &entry, zero),
            Some(common) => self.continued(common, first, zero, &entry),
        };
        let Some(common) = &self.common else { return Ok(true) };
        let asked_ticks = if self.files.is_empty() { entry.asked_ticks } else { entry.earliest_ticks };
        let placement = Arc::new(Placement {
            tracks: placements(&common.tracks, asked_ticks, at, until),
            sequence_shift: self.next_sequence.wrapping_sub(entry.sequence_number),
        });
        let first_file = self.files.len();
        self.files.extend(plan.files.iter().cloned());
        let tail = tail(plan, until - composition);
        self.walk(Run { files, first_file, placement }, enter, tail)?;
        Ok(true)
    }

    /// Places the first run; the clip's time of what is shown first comes back.
    fn begin(
        &mut self,
        first: &FileRow,
        Init { plain, tracks, lead }: Init,
        entry: &Entry,
        zero: i64,
    ) -> i64 {
        let room = lead_placement(&lead, entry.asked_ticks).room_ticks(entry.first_ticks);
        let begin_ticks = room.max(i64::from(lead.timescale.hz().div_ceil(1000)));
        let start = first.start.plus_us(lead.timescale.ticks_to_us(entry.asked_ticks - zero));
        let late_us = start.us_since(self.request.start).max(0);
        let empty_ticks = match self.request.gaps {
            GapRule::Time => lead.timescale.us_to_ticks(late_us),
            GapRule::Stop | GapRule::Skip => 0,
        };
        let edit = |track: &InitTrack| TrackEdit {
            track_id: track.track_id,
            empty_ticks,
            media_ticks: rescale(begin_ticks, lead.timescale.hz(), track.timescale.hz()),
        };
        let edits = tracks.iter().map(edit).collect();
        self.common = Some(Common { plain, tracks, lead, edits, begin_ticks, empty_ticks, start });
        begin_ticks
    }

    /// Where a later run goes on.
    fn continued(&self, common: &Common, first: &FileRow, zero: i64, entry: &Entry) -> i64 {
        let lead = common.lead.timescale;
        let ends = self.ends.iter().map(|(track_id, end)| {
            let hz = timescale_of(&common.tracks, *track_id).hz();
            -rescale(-end, hz, lead.hz())
        });
        let at_once = ends.max().unwrap_or(0);
        match self.request.gaps {
            GapRule::Stop | GapRule::Skip => at_once,
            GapRule::Time => {
                let shown = common.begin_ticks + lead.us_to_ticks(first.start.us_since(common.start));
                (shown - (zero - entry.earliest_ticks)).max(at_once)
            }
        }
    }

    /// From the part at `enter` to where nothing is shown any more; what is known to be shown whole is passed over.
    fn walk(&mut self, mut run: Run<'_>, enter: Position, tail: Position) -> Result<(), PlaybackError> {
        let mut position = enter;
        let mut last: Vec<(usize, PartInFile)> = Vec::new();
        while let Some((file, part)) = run.files.next(&mut position)? {
            if part.head.is_behind(&run.placement) || last.len() == EDGE_PARTS_MAX {
                break;
            }
            if !last.is_empty() || part.head.reaches_end(&run.placement) {
                last.push((file, part));
                continue;
            }
            if part.head.begins_before(&run.placement) {
                let cut = Cut::beginning(&part.head, &run.placement);
                self.put_cut(&run, file, &part, &cut)?;
                continue;
            }
            self.put_whole(&run, file, &part)?;
            if self.request.format == ClipFormat::Fragmented && position < tail {
                position = self.pass_over(&run, position, tail);
            }
        }
        let heads: Vec<_> = last.iter().map(|(_, part)| part.head.clone()).collect();
        for ((file, part), cut) in last.iter().zip(Cut::endings(&heads, &run.placement)) {
            self.put_cut(&run, *file, part, &cut)?;
        }
        Ok(())
    }

    /// Takes everything from one position to another.
    fn pass_over(&mut self, run: &Run<'_>, from: Position, to: Position) -> Position {
        for (index, row) in run.files.rows.iter().enumerate().take(to.file + 1).skip(from.file) {
            let begin = if index == from.file { from.offset } else { row.first_offset };
            let end = if index == to.file { to.offset } else { row.extent.bytes };
            self.put_moved(run, index, begin, end);
        }
        to
    }

    fn put_whole(&mut self, run: &Run<'_>, file: usize, part: &PartInFile) -> Result<(), PlaybackError> {
        let cut = Cut::whole(&part.head);
        match self.request.format {
            ClipFormat::Progressive => self.put_payload(run, file, part, &cut)?,
            ClipFormat::Fragmented => self.put_moved(run, file, part.offset, part.offset + part.len_bytes),
        }
        self.note(run, part, &cut);
        Ok(())
    }

    fn put_cut(
        &mut self,
        run: &Run<'_>,
        file: usize,
        part: &PartInFile,
        cut: &Cut,
    ) -> Result<(), PlaybackError> {
        if cut.is_empty() {
            return Ok(());
        }
        match self.request.format {
            ClipFormat::Progressive => self.put_payload(run, file, part, cut)?,
            ClipFormat::Fragmented => {
                let mut head = BytesMut::from(&*cut.moof(&part.head, &run.placement, part.payload_offset));
                head.put_u32(u32::try_from(part.payload_bytes + 8).unwrap_or(u32::MAX));
                head.put_slice(b"mdat");
                let len_bytes = u64::try_from(head.len()).unwrap_or(0);
                self.put(len_bytes, Content::Made(head.freeze()));
                let from = part.offset + u64::from(part.payload_offset);
                self.put(part.payload_bytes, Content::Same { file: run.first_file + file, from });
            }
        }
        self.note(run, part, cut);
        Ok(())
    }

    fn put_payload(
        &mut self,
        run: &Run<'_>,
        file: usize,
        part: &PartInFile,
        cut: &Cut,
    ) -> Result<(), PlaybackError> {
        let kept = cut.tracks(&part.head, &run.placement);
        self.tables.push(kept, self.bytes, part.payload_offset)?;
        self.parts.push(ClipPart { file: run.first_file + file, offset: part.offset });
        let from = part.offset + u64::from(part.payload_offset);
        self.put(part.payload_bytes, Content::Same { file: run.first_file + file, from });
        Ok(())
    }

    fn put_moved(&mut self, run: &Run<'_>, file: usize, from: u64, to: u64) {
        let file = run.first_file + file;
        let len_bytes = to.saturating_sub(from);
        if let Some(Piece {
            len_bytes: so_far,
            content: Content::Moved { file: before, from: begin, .. },
            ..
        }) = self.pieces.last_mut()
            && *before == file
            && *begin + *so_far == from
        {
            *so_far += len_bytes;
            self.bytes += len_bytes;
        } else if len_bytes > 0 {
            self.put(len_bytes, Content::Moved { file, from, placement: Arc::clone(&run.placement) });
        }
    }

    fn put(&mut self, len_bytes: u64, content: Content) {
        self.pieces.push(Piece { at: self.bytes, len_bytes, content });
        self.bytes += len_bytes;
    }

    /// Remembers where the tracks end.
    fn note(&mut self, run: &Run<'_>, part: &PartInFile, cut: &Cut) {
        self.next_sequence =
            part.head.sequence_number.wrapping_add(run.placement.sequence_shift).wrapping_add(1);
        let Some(common) = &self.common else { return };
        for track in cut.tracks(&part.head, &run.placement) {
            let Some(last) = track.samples.last() else { continue };
            match self.ends.iter_mut().find(|(track_id, _)| *track_id == track.track_id) {
                Some((_, end)) => *end = last.end_ticks,
                None => self.ends.push((track.track_id, last.end_ticks)),
            }
            if track.track_id == common.lead.track_id {
                let ends =
                    track.samples.iter().map(|timed| timed.pts_ticks + timed.end_ticks - timed.dts_ticks);
                let limit =
                    run.placement.tracks.first().map_or(i64::MAX, |place| place.map(place.until_ticks));
                let shown = ends.max().unwrap_or(0).min(limit);
                self.shown_end_ticks = self.shown_end_ticks.max(shown);
            }
        }
    }

    fn finish(mut self) -> Result<Option<Clip>, PlaybackError> {
        let (Some(common), Some(first)) = (self.common, self.files.first()) else { return Ok(None) };
        if self.pieces.is_empty() {
            return Ok(None);
        }
        let shown = self.shown_end_ticks - common.begin_ticks + common.empty_ticks;
        let head = match self.request.format {
            ClipFormat::Fragmented => clip_init(&common.plain, &common.edits, shown),
            ClipFormat::Progressive => self.tables.head(&common.plain, &common.edits, shown, self.bytes),
        };
        let head = head.map_err(|error| malformed(first, error))?;
        let head_bytes = u64::try_from(head.len()).unwrap_or(0);
        self.pieces.iter_mut().for_each(|piece| piece.at += head_bytes);
        let end = common.start.plus_us(common.lead.timescale.ticks_to_us(shown - common.empty_ticks));
        Ok(Some(Clip {
            head,
            pieces: self.pieces,
            files: self.files,
            parts: self.parts,
            start: common.start,
            end,
        }))
    }
}

fn timescale_of(tracks: &[InitTrack], track_id: u32) -> Timescale {
    let found = tracks.iter().find(|track| track.track_id == track_id);
    found.map_or(Timescale::VIDEO, |track| track.timescale)
}

fn lead_placement(lead: &InitTrack, asked_ticks: i64) -> TrackPlacement {
    let before = if lead.is_video { Before::Needed } else { Before::LeftOut };
    TrackPlacement { track_id: lead.track_id, asked_ticks, at_ticks: 0, until_ticks: i64::MAX, before }
}

/// The same times for all tracks, from ticks of the leading one.
fn placements(tracks: &[InitTrack], asked: i64, at: i64, until: i64) -> Vec<TrackPlacement> {
    let lead_hz = tracks.first().map_or(1, |lead| lead.timescale.hz());
    let placed = tracks.iter().map(|track| {
        let scaled = |ticks| rescale(ticks, lead_hz, track.timescale.hz());
        TrackPlacement {
            at_ticks: scaled(at),
            until_ticks: scaled(until),
            ..lead_placement(track, scaled(asked))
        }
    });
    placed.collect()
}

/// Where the GOP begins that is shown at `ticks` from the run's first picture.
fn gop_before(plan: &RunPlan, ticks: i64) -> u64 {
    let first_offset = plan.files.first().map_or(0, |row| row.first_offset);
    let placed = place(&plan.first_gops, first_offset);
    let before = placed.filter(|gop| gop.start_ticks <= ticks && gop.entry.is_random_access);
    before.last().map_or(first_offset, |gop| gop.offset)
}

/// Where the last GOP begins of which something is decoded before `ticks`.
fn tail(plan: &RunPlan, ticks: i64) -> Position {
    let file = plan.files.len().saturating_sub(1);
    let Some(last) = plan.files.last() else { return Position { file, offset: 0 } };
    let placed = place(&plan.last_gops, last.first_offset);
    let before = placed.filter(|gop| last.first_ticks + gop.start_ticks < ticks);
    Position { file, offset: before.last().map_or(last.first_offset, |gop| gop.offset) }
}

/// Looks for the picture that is shown at `asked`.
fn look(
    files: &mut RunFiles<'_>,
    enter: Position,
    asked: i64,
    tracks: &[InitTrack],
) -> Result<Option<Entry>, PlaybackError> {
    let Some(lead) = tracks.first() else { return Ok(None) };
    let mut position = enter;
    let mut entry: Option<Entry> = None;
    for _ in 0..EDGE_PARTS_MAX {
        let Some((_, part)) = files.next(&mut position)? else { break };
        let Some(track) = part.head.tracks.iter().find(|track| track.track_id == lead.track_id) else {
            continue;
        };
        if entry.is_some() && track.base_ticks > asked {
            break;
        }
        let entry = entry.get_or_insert_with(|| {
            let starts = part.head.tracks.iter().map(|track| {
                let hz = timescale_of(tracks, track.track_id).hz();
                rescale(track.base_ticks, hz, lead.timescale.hz())
            });
            Entry {
                asked_ticks: track.timed().map(|timed| timed.pts_ticks).min().unwrap_or(0),
                first_ticks: track.base_ticks,
                earliest_ticks: starts.min().unwrap_or(0),
                sequence_number: part.head.sequence_number,
            }
        });
        let shown = track.timed().map(|timed| timed.pts_ticks).filter(|pts| *pts <= asked).max();
        entry.asked_ticks = entry.asked_ticks.max(shown.unwrap_or(i64::MIN));
    }
    Ok(entry)
}
