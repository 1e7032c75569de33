//! Every metric of MediaMTX 1.20 that is about what we serve, its older names included.

use super::metrics::{Filter, MetricsSnapshot, render};
use super::rtmp_metrics::RtmpMetrics;
use super::rtsp_metrics::RtspMetrics;

/// From its internal/metrics/metrics.go; `{rtsp}` and `{rtmp}` stand for both listeners' names.
const NAMES: &str = "forward_dests forward_dests_outbound_bytes hls_muxers hls_muxers_bytes_sent \
    hls_muxers_outbound_bytes hls_muxers_outbound_frames_discarded hls_sessions hls_sessions_outbound_bytes paths \
    paths_bytes_received paths_bytes_sent paths_inbound_bytes paths_inbound_frames_in_error paths_outbound_bytes \
    paths_readers {rtmp}_conns {rtmp}_conns_bytes_received {rtmp}_conns_bytes_sent {rtmp}_conns_inbound_bytes \
    {rtmp}_conns_outbound_bytes {rtmp}_conns_outbound_frames_discarded {rtsp}_conns {rtsp}_conns_bytes_received \
    {rtsp}_conns_bytes_sent {rtsp}_conns_inbound_bytes {rtsp}_conns_outbound_bytes {rtsp}_sessions \
    {rtsp}_sessions_bytes_received {rtsp}_sessions_bytes_sent {rtsp}_sessions_inbound_bytes \
    {rtsp}_sessions_inbound_rtcp_packets {rtsp}_sessions_inbound_rtcp_packets_in_error \
    {rtsp}_sessions_inbound_rtp_packets {rtsp}_sessions_inbound_rtp_packets_in_error \
    {rtsp}_sessions_inbound_rtp_packets_jitter {rtsp}_sessions_inbound_rtp_packets_lost {rtsp}_sessions_outbound_bytes \
    {rtsp}_sessions_outbound_rtcp_packets {rtsp}_sessions_outbound_rtp_packets \
    {rtsp}_sessions_outbound_rtp_packets_discarded {rtsp}_sessions_outbound_rtp_packets_reported_lost \
    {rtsp}_sessions_rtcp_packets_in_error {rtsp}_sessions_rtcp_packets_received {rtsp}_sessions_rtcp_packets_sent \
    {rtsp}_sessions_rtp_packets_in_error {rtsp}_sessions_rtp_packets_jitter {rtsp}_sessions_rtp_packets_lost \
    {rtsp}_sessions_rtp_packets_received {rtsp}_sessions_rtp_packets_sent webrtc_sessions \
    webrtc_sessions_bytes_received webrtc_sessions_bytes_sent webrtc_sessions_inbound_bytes \
    webrtc_sessions_inbound_rtcp_packets webrtc_sessions_inbound_rtp_packets \
    webrtc_sessions_inbound_rtp_packets_jitter webrtc_sessions_inbound_rtp_packets_lost webrtc_sessions_outbound_bytes \
    webrtc_sessions_outbound_frames_discarded webrtc_sessions_outbound_rtcp_packets webrtc_sessions_outbound_rtp_packets \
    webrtc_sessions_rtcp_packets_received webrtc_sessions_rtcp_packets_sent webrtc_sessions_rtp_packets_jitter \
    webrtc_sessions_rtp_packets_lost webrtc_sessions_rtp_packets_received webrtc_sessions_rtp_packets_sent";

#[test]
fn every_metric_of_mediamtx_is_there_and_zero_while_there_is_nothing() {
    let snapshot = MetricsSnapshot {
        hls_muxers: Some(Vec::new()),
        hls_sessions: Some(Vec::new()),
        webrtc_sessions: Some(Vec::new()),
        rtsp: Some(RtspMetrics { has_tls: true, ..RtspMetrics::default() }),
        rtmp: Some(RtmpMetrics { has_tls: true, ..RtmpMetrics::default() }),
        ..MetricsSnapshot::default()
    };
    let text = render(&snapshot, &Filter::default());
    let plain_and_tls = |name: &str| {
        let both = ["rtsp", "rtmp"].into_iter().find(|protocol| name.contains(&format!("{{{protocol}}}")));
        both.map_or_else(
            || vec![name.to_owned()],
            |it| vec![name.replace(['{', '}'], ""), name.replace(&format!("{{{it}}}"), &format!("{it}s"))],
        )
    };
    let names: Vec<String> = NAMES.split_whitespace().flat_map(plain_and_tls).collect();
    assert_eq!(names.len(), 101);
    for name in names {
        let line = format!("{name} 0");
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
