//! Counters: what went wrong with a camera's packets, since its stream was made.

/// Totals that only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestCounters {
    /// RTP packets taken.
    pub packets: u64,
    /// RTP packets missing by their sequence numbers.
    pub lost_packets: u64,
    /// Packets whose payload made no sense.
    pub malformed_packets: u64,
    /// Access units handed out.
    pub units: u64,
    /// Access units dropped because packets of them were missing or malformed.
    pub lost_units: u64,
    /// Access units dropped because they were over a limit.
    pub oversized_units: u64,
    /// Access units dropped while waiting for a random access point.
    pub undecodable_units: u64,
    /// Units whose timestamp was repeated or backward and was moved.
    pub repaired_timestamps: u64,
    /// Units stamped far away from the units around them (they were moved too).
    pub stray_units: u64,
    /// Times that this machine's own clock was set while the camera was connected.
    pub clock_steps: u64,
    /// Jumps of a timeline.
    pub discontinuities: u64,
    /// Random access points that had to be dropped because their parameter sets were not known yet.
    pub late_parameter_sets: u64,
    /// Changes of parameter sets midway.
    pub parameter_set_changes: u64,
}
