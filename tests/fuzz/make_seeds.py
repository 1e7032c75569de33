#!/usr/bin/env python3
"""Makes the seeds of corpus/ that hold media, with ffmpeg: tests/fuzz/make_seeds.py. Those in text are written by hand."""

import pathlib
import socket
import struct
import subprocess
import tempfile
import threading

CORPUS = pathlib.Path(__file__).parent / "corpus"
PICTURES = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1.2"]
SOUND = ["-f", "lavfi", "-i", "sine=frequency=440:duration=0.6"]
H264 = ["-c:v", "libx264", "-g", "6", "-bf", "2", "-crf", "45"]
H265 = ["-c:v", "libx265", "-x265-params", "log-level=none:keyint=6:bframes=2:info=0", "-crf", "45"]
AAC = ["-c:a", "aac", "-b:a", "24k", "-ar", "44100", "-ac", "2"]
OPUS = ["-c:a", "libopus", "-b:a", "16k"]


def ffmpeg(*arguments):
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def made(suffix, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / f"made.{suffix}"
        ffmpeg(*arguments, str(file))
        return file.read_bytes()


def rtp(*arguments):
    """Packets of RTP and RTCP as they come, interleaved."""
    media, reports, out, lock = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM), [], threading.Lock()
    media.bind(("127.0.0.1", 0))
    reports.bind(("127.0.0.1", 0))

    def take(port, channel):
        port.settimeout(1)
        try:
            while True:
                packet = port.recv(65535)
                with lock:
                    out.append(struct.pack(">cBH", b"$", channel, len(packet)) + packet)
        except TimeoutError:
            pass

    threads = [threading.Thread(target=take, args=pair) for pair in ((media, 0), (reports, 1))]
    for thread in threads:
        thread.start()
    url = f"rtp://127.0.0.1:{media.getsockname()[1]}?rtcpport={reports.getsockname()[1]}&pkt_size=400"
    ffmpeg(*arguments, "-f", "rtp", "-payload_type", "96", url)
    for thread in threads:
        thread.join()
    return b"".join(out)


# AMF0 and chunks: enough of them to say what an encoder says.
def text(value):
    return b"\x02" + struct.pack(">H", len(value)) + value.encode()


def number(value):
    return b"\x00" + struct.pack(">d", value)


def object_of(**entries):
    pairs = (struct.pack(">H", len(name)) + name.encode() + value for name, value in entries.items())
    return b"\x03" + b"".join(pairs) + b"\x00\x00\x09"


def chunks(kind, payload, stream=0, time=0, chunk=128):
    head = struct.pack(">B", 3) + struct.pack(">I", min(time, 0xFFFFFF))[1:] + struct.pack(">I", len(payload))[1:]
    head += struct.pack(">B", kind) + struct.pack("<I", stream)
    pieces = [payload[at : at + chunk] for at in range(0, len(payload), chunk)]
    return head + b"\xc3".join(pieces)


def tags(flv):
    at = 13
    while at + 11 <= len(flv):
        kind, size = flv[at], int.from_bytes(flv[at + 1 : at + 4])
        time = int.from_bytes(flv[at + 4 : at + 7])
        yield kind, time, flv[at + 11 : at + 11 + size]
        at += 11 + size + 4


def rtmp(flv, commands):
    hello = b"\x03" + bytes(1536) + bytes(1536)
    media = (chunks(kind, payload, 1, time) for kind, time, payload in tags(flv))
    return hello + b"".join(chunks(20, command) for command in commands) + b"".join(media)


def box(kind, *parts):
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def part(number, base, sizes):
    """A moof in the form that we write (media-core, remux::fmp4::fragment), and its mdat."""
    samples = b"".join(struct.pack(">IIIi", 1024, size, 0x0101_0000 if at else 0x0200_0000, 0) for at, size in enumerate(sizes))
    head = 8 + 16 + 8 + 16 + 20 + 20 + len(samples)
    trun = box(b"trun", struct.pack(">III", 0x0100_0F01, len(sizes), head + 8), samples)
    traf = box(b"traf", box(b"tfhd", struct.pack(">II", 0x02_0000, 1)), box(b"tfdt", struct.pack(">IQ", 1 << 24, base)), trun)
    return box(b"moof", box(b"mfhd", struct.pack(">II", 0, number)), traf) + box(b"mdat", bytes(sum(sizes)))


def rtsp(*lines, body=""):
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, *length, "", body]).encode()


SDP = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.1",
        "s=Media Server",
        "t=0 0",
        "a=control:*",
        "m=video 0 RTP/AVP 96",
        "a=rtpmap:96 H264/90000",
        "a=fmtp:96 packetization-mode=1;profile-level-id=4D401F;sprop-parameter-sets=Z01AH6kYFAFu,aM4xEg==",
        "a=control:trackID=0",
        "m=audio 0 RTP/AVP 97",
        "a=rtpmap:97 MPEG4-GENERIC/44100/2",
        "a=fmtp:97 mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1210",
        "a=control:trackID=1",
        "",
    ]
)


def rtsp_seeds(packets):
    ok, session = "RTSP/1.0 200 OK", "Session: 12345678;timeout=60"
    setups = [
        rtsp(ok, f"CSeq: {4 + track}", session, f"Transport: RTP/AVP/TCP;unicast;interleaved={2 * track}-{2 * track + 1}")
        for track in range(2)
    ]
    challenge = 'WWW-Authenticate: Digest realm="IPC", nonce="8b2ff1c8e2b0", algorithm=MD5'
    camera = [
        rtsp(ok, "CSeq: 1", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER"),
        rtsp("RTSP/1.0 401 Unauthorized", "CSeq: 2", challenge),
        rtsp(ok, "CSeq: 3", "Content-Base: rtsp://192.0.2.1/cam/", "Content-Type: application/sdp", body=SDP),
        *setups,
        rtsp(ok, "CSeq: 6", session, "RTP-Info: url=rtsp://192.0.2.1/cam/trackID=0;seq=1;rtptime=2"),
    ]
    write("rtsp_client", "camera", b"".join(camera) + packets)
    url = "rtsp://192.0.2.9:8554/cam"
    transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
    reader = [
        rtsp(f"OPTIONS {url} RTSP/1.0", "CSeq: 1", "User-Agent: LibVLC/3.0"),
        rtsp(f"DESCRIBE {url} RTSP/1.0", "CSeq: 2", "Accept: application/sdp", "Authorization: Basic dTpw"),
        rtsp(f"SETUP {url}/trackID=0 RTSP/1.0", "CSeq: 3", transport),
        rtsp(f"PLAY {url}/ RTSP/1.0", "CSeq: 4", "Session: 1234567890", "Range: npt=0.000-"),
        rtsp(f"GET_PARAMETER {url}/ RTSP/1.0", "CSeq: 5", "Session: 1234567890"),
        rtsp(f"PAUSE {url}/ RTSP/1.0", "CSeq: 6", "Session: 1234567890"),
        rtsp(f"TEARDOWN {url}/ RTSP/1.0", "CSeq: 7", "Session: 1234567890"),
        rtsp(f"SETUP {url}/trackID=0 RTSP/1.0", "CSeq: 8", "Require: x", "Transport: RTP/AVP;unicast;client_port=5000-5001"),
    ]
    write("rtsp_server", "reader", b"".join(reader))
    publisher = [
        rtsp(f"ANNOUNCE {url} RTSP/1.0", "CSeq: 1", "Content-Type: application/sdp", body=SDP),
        rtsp(f"SETUP {url}/trackID=0 RTSP/1.0", "CSeq: 2", transport + ";mode=record"),
        rtsp(f"RECORD {url} RTSP/1.0", "CSeq: 3", "Session: 1234567890"),
    ]
    write("rtsp_server", "publisher", b"".join(publisher) + packets)


def main():
    h264, h265 = made("h264", *PICTURES, *H264), made("hevc", *PICTURES, *H265)
    write("parameter_sets", "h264", h264[:1500])
    write("parameter_sets", "h265", h265[:1500])
    packets = rtp(*PICTURES, *H264)
    write("rtp_h264", "ffmpeg", packets)
    rtsp_seeds(packets)
    write("rtp_h265", "ffmpeg", rtp(*PICTURES, *H265))
    write("rtp_aac", "hbr", b"\x00" + rtp(*SOUND, *AAC))
    write("rtp_sound", "opus", b"\x00" + rtp(*SOUND, *OPUS))
    write("rtp_sound", "pcma", b"\x01" + rtp(*SOUND, "-c:a", "pcm_alaw", "-ar", "8000")[:4000])

    adts, frames, at = made("aac", *SOUND, *AAC), b"", 0
    # Few: decoding and encoding are the dearest that any target does.
    for _ in range(4):
        size = (adts[at + 3] & 3) << 11 | adts[at + 4] << 3 | adts[at + 5] >> 5
        frames += struct.pack(">H", size - 7) + adts[at + 7 : at + size]
        at += size
    write("aac_frames", "lc", b"\x02\x12\x10" + frames)
    write("aac_config", "lc", b"\x12\x10")

    flv = made("flv", *PICTURES, *SOUND, *H264, *AAC)
    write("flv_tags", "h264_aac", flv)
    connect = object_of(app=text("live"), flashVer=text("FMLE/3.0"), tcUrl=text("rtmp://192.0.2.1/live"))
    commands = [
        text("connect") + number(1) + connect,
        text("createStream") + number(2) + b"\x05",
        text("publish") + number(3) + b"\x05" + text("cam?user=u&pass=p") + text("live"),
    ]
    write("rtmp_server", "publish", rtmp(flv, commands))
    play = text("play") + number(3) + b"\x05" + text("cam")
    write("rtmp_server", "play", rtmp(b"", [*commands[:2], play]))
    status = object_of(level=text("status"), code=text("NetStream.Play.Start"))
    answers = [
        text("_result") + number(1) + object_of(fmsVer=text("FMS/3,0,1,123")) + status,
        # Whichever of our requests made the stream.
        *(text("_result") + number(transaction) + b"\x05" + number(1) for transaction in (2, 4)),
        text("onStatus") + number(0) + b"\x05" + status,
    ]
    write("rtmp_client", "play", rtmp(flv, answers))
    asks = "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=u&salt=abc&challenge=def&opaque=ghi"
    refusal = object_of(level=text("error"), code=text("NetConnection.Connect.Rejected"), description=text(asks))
    write("rtmp_client", "challenge", rtmp(b"", [text("_error") + number(1) + b"\x05" + refusal]))
    for kind, _, payload in tags(flv):
        if kind == 18:
            write("amf0", "metadata", payload)
    write("amf0", "connect", commands[0])

    segments = [*PICTURES, *SOUND]
    write("hls_segments", "ts_h264_aac", made("ts", *segments, *H264, *AAC))
    write("hls_segments", "ts_h265", made("ts", *PICTURES, *H265))
    fragments = ["-movflags", "frag_keyframe+empty_moov+default_base_moof"]
    write("hls_segments", "fmp4_h264_aac", made("mp4", *segments, *H264, *AAC, *fragments))
    init = made("mp4", *PICTURES, *H264, "-movflags", "frag_keyframe+empty_moov+default_base_moof")
    init = init[: init.index(b"moof") - 4]
    parts = b"".join(part(number, 90_000 + 5120 * number, [40, 30, 20, 10, 5]) for number in range(3))
    write("recorded_fmp4", "h264", init + parts)
    write("hls_segments", "fmp4_h265_opus", made("mp4", *segments, *H265, *OPUS, *fragments))


if __name__ == "__main__":
    main()
