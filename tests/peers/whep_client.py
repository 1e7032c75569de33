"""A WebRTC viewer that is not a browser: aiortc over WHEP, keeping encoded frames.

  whep_client.py --url http://HOST/PATH/whep --seconds N [--audio yes] [--lose SHARE]
                 [--link-loss SHARE] [--rtx no] [--vanish yes]

Audio is asked for only with --audio: aiortc can't take an answer that refuses a track.
With --lose that share of the video's first transmissions is thrown away on arrival (fixed
seed), so that only retransmission brings it back; the first 50 packets are kept. With
--link-loss everything goes through a UDP proxy that drops that share of the server's RTP packets,
first transmissions and others alike. With --rtx no the offer has no retransmission stream. With
--vanish it ends without a word to the server.

Prints one line of JSON:
  first_frame_ms    from sending the offer to the first whole video frame
  video             [{"rtp": timestamp, "units": [{"type": nal_unit_type, "sha256": hex}]}]
  audio             {"codec": name or null, "frames": N}
  answer            the SDP answer
  status, headers   of the POST's response
  deleted           status of the DELETE that ended the session
A refusal (4xx) is reported the same way, with "body". Frames are taken after aiortc's own
jitter buffer and depacketizer, in place of its decoder.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request

import aioice.ice
import aiortc.rtcrtpreceiver
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs.h264 import H264Decoder  # noqa: F401  (H.264 must be there)

# The server under test listens on loopback, which aioice leaves out of its candidates.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

VIDEO = []
AUDIO = {"codec": None, "frames": 0}
FIRST_FRAME = []


def nal_units(data):
    """Splits aiortc's Annex B at its 4-byte start codes."""
    return [unit for unit in data.split(b"\x00\x00\x00\x01") if unit]


def describe(unit):
    return {"type": unit[0] & 0x1F, "sha256": hashlib.sha256(unit).hexdigest()}


def collect(_loop, frames, _decoded, _failed):
    """Stands in for aiortc's decoder thread."""
    while (task := frames.get()) is not None:
        codec, frame = task
        if codec.mimeType.lower().startswith("video/"):
            FIRST_FRAME.append(time.monotonic())
            units = [describe(unit) for unit in nal_units(frame.data)]
            VIDEO.append({"rtp": frame.timestamp, "units": units})
        else:
            AUDIO["codec"] = codec.name
            AUDIO["frames"] += 1


aiortc.rtcrtpreceiver.decoder_worker = collect

ASK_AGAIN_AFTER_S = 0.05


class AskingAgain(aiortc.rtcrtpreceiver.NackGenerator):
    """Asks again for what is still missing, as browsers do. aiortc's own asks when the next packet is lost, which may be after
    it has forgotten the one whose retransmission was lost too."""

    def __init__(self):
        super().__init__()
        self.asked = 0.0

    def add(self, packet):
        is_due = super().add(packet) or (self.missing and time.monotonic() - self.asked > ASK_AGAIN_AFTER_S)
        if is_due:
            self.asked = time.monotonic()
        return is_due


aiortc.rtcrtpreceiver.NackGenerator = AskingAgain
# As many packets as its jitter buffer waits for.
aiortc.rtcrtpreceiver.RTP_HISTORY_SIZE = 512

KEPT_AT_START = 50


def lose(share):
    """Puts a lossy link in front of aiortc's receivers; retransmissions pass."""
    receiver = aiortc.rtcrtpreceiver.RTCRtpReceiver
    handle = receiver._handle_rtp_packet
    dice = random.Random(20)
    seen = set()

    async def handle_lossy(self, packet, arrival_time_ms):
        first_time = (packet.ssrc, packet.sequence_number) not in seen
        seen.add((packet.ssrc, packet.sequence_number))
        is_video = packet.payload_type == VIDEO_PAYLOAD_TYPE[0]
        if is_video and first_time and len(seen) > KEPT_AT_START and dice.random() < share:
            return
        await handle(self, packet, arrival_time_ms)

    receiver._handle_rtp_packet = handle_lossy


VIDEO_PAYLOAD_TYPE = [None]


class Forward(asyncio.DatagramProtocol):
    """One side of the lossy link: what it hears, the other side says."""

    def __init__(self, peer=None, drops=lambda datagram: False):
        self.peer, self.drops, self.other, self.transport = peer, drops, None, None

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, datagram, source):
        self.peer = source
        if not self.drops(datagram) and self.other.peer is not None:
            self.other.transport.sendto(datagram, self.other.peer)


async def lossy_link(answer, share):
    """Opens the link to the answer's UDP candidate and puts its own address in its place."""
    lines = answer.splitlines()
    is_udp = [line.startswith("a=candidate:") and " udp " in line.lower() for line in lines]
    fields = lines[is_udp.index(True)].split()
    dice, rtp_packets = random.Random(20), [0]

    def drops(datagram):
        is_rtp = 128 <= datagram[0] <= 191 and not 192 <= datagram[1] <= 223
        rtp_packets[0] += is_rtp
        return is_rtp and rtp_packets[0] > KEPT_AT_START and dice.random() < share

    loop = asyncio.get_running_loop()
    viewer, server = Forward(), Forward((fields[4], int(fields[5])), drops)
    viewer.other, server.other = server, viewer
    here = ("127.0.0.1", 0)
    await loop.create_datagram_endpoint(lambda: viewer, local_addr=here)
    await loop.create_datagram_endpoint(lambda: server, local_addr=here)
    port = str(viewer.transport.get_extra_info("sockname")[1])
    kept = [line for line, udp in zip(lines, is_udp) if udp or not line.startswith("a=candidate:")]
    link = " ".join(fields[:4] + ["127.0.0.1", port] + fields[6:])
    return "\r\n".join(link if line.startswith("a=candidate:") else line for line in kept) + "\r\n"


def without_candidates(offer):
    """The server must answer by the link, not look for a way of its own."""
    return "".join(line for line in offer.splitlines(True) if not line.startswith("a=candidate:"))


def without_rtx(offer):
    lines = offer.splitlines(True)
    rtx = {line.split(":")[1].split()[0] for line in lines if line.startswith("a=rtpmap:") and " rtx/" in line}
    kept = []
    for line in lines:
        if line.startswith("m="):
            line = " ".join(word for word in line.split() if word not in rtx) + "\r\n"
        elif line.startswith(("a=rtpmap:", "a=fmtp:", "a=rtcp-fb:")) and line.split(":")[1].split()[0] in rtx:
            continue
        kept.append(line)
    return "".join(kept)


def video_payload_type(answer):
    media = next(line for line in answer.splitlines() if line.startswith("m=video"))
    return int(media.split()[3])


def request(method, url, body=None, content_type=None):
    headers = {"Content-Type": content_type} if content_type else {}
    call = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(call, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode()


async def watch(arguments):
    url, audio, vanish = arguments.url, arguments.audio == "yes", arguments.vanish == "yes"
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("video", direction="recvonly")
    if audio:
        peer.addTransceiver("audio", direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    asked = time.monotonic()
    offer = peer.localDescription.sdp
    if arguments.rtx == "no":
        offer = without_rtx(offer)
    if arguments.link_loss:
        offer = without_candidates(offer)
    status, headers, body = await asyncio.to_thread(
        request, "POST", url, offer.encode(), "application/sdp"
    )
    report = {"status": status, "headers": {k.lower(): v for k, v in headers.items()}}
    if status != 201:
        await peer.close()
        return report | {"body": body}
    VIDEO_PAYLOAD_TYPE[0] = video_payload_type(body)
    if arguments.link_loss:
        body = await lossy_link(body, arguments.link_loss)
    await peer.setRemoteDescription(RTCSessionDescription(body, "answer"))
    location = urllib.parse.urljoin(url, report["headers"]["location"])
    await asyncio.sleep(arguments.seconds)
    deleted = None
    if not vanish:
        deleted, _, _ = await asyncio.to_thread(request, "DELETE", location)
        await peer.close()
    first = (FIRST_FRAME[0] - asked) * 1000 if FIRST_FRAME else None
    return report | {
        "answer": body,
        "deleted": deleted,
        "first_frame_ms": first,
        "video": VIDEO,
        "audio": AUDIO,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--audio", default="no")
    parser.add_argument("--lose", type=float, default=0)
    parser.add_argument("--link-loss", type=float, default=0)
    parser.add_argument("--rtx", default="yes")
    parser.add_argument("--vanish", default="no")
    arguments = parser.parse_args()
    if arguments.lose:
        lose(arguments.lose)
    print(json.dumps(asyncio.run(watch(arguments))), flush=True)
    if arguments.vanish == "yes":
        os._exit(0)


main()
