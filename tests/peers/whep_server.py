"""A WHEP server that is not ours: aiortc, sending a clip's pictures as they are.

  whep_server.py --clip FILE.ts

Prints {"whep": "http://127.0.0.1:PORT/cam"} when it is ready, then a line for each request: {"method", "target", "authorization"}.
Each viewer gets the clip from its beginning, in MPEG-TS with H.264 without B-frames, and no sound: that section is rejected by being
idle. Serves until SIGTERM.
"""

import argparse
import asyncio
import json
import signal

import aioice.ice
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer

# The server under test is on loopback, which aioice leaves out of its candidates.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

SESSIONS = {}


async def answered(offer, clip):
    """A session with its answer."""
    connection = RTCPeerConnection()
    await connection.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
    sender = connection.addTrack(MediaPlayer(clip, decode=False).video)
    h264 = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType == "video/H264"]
    next(t for t in connection.getTransceivers() if t.sender is sender).setCodecPreferences(h264)
    await connection.setLocalDescription(await connection.createAnswer())
    return connection


async def serve(reader, writer, clip):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    request, *lines = head.split("\r\n")
    method, target, _ = request.split(" ")
    headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
    print(json.dumps({"method": method, "target": target, "authorization": "authorization" in headers}), flush=True)
    status, answer, extra = "404 Not Found", "", ""
    if method == "POST" and target == "/cam":
        name = f"/session/{len(SESSIONS) + 1}"
        SESSIONS[name] = await answered(body, clip)
        status, answer = "201 Created", SESSIONS[name].localDescription.sdp
        extra = f"Location: {name}\r\nContent-Type: application/sdp\r\n"
    elif method == "DELETE" and target in SESSIONS:
        await SESSIONS[target].close()
        status = "200 OK"
    head = f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(answer.encode())}\r\nConnection: close\r\n\r\n"
    writer.write((head + answer).encode())
    await writer.drain()
    writer.close()


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", required=True)
    clip = parser.parse_args().clip
    server = await asyncio.start_server(lambda reader, writer: serve(reader, writer, clip), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"whep": f"http://127.0.0.1:{port}/cam"}), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    for connection in SESSIONS.values():
        await connection.close()


asyncio.run(main())
