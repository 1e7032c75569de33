"""A WHIP server that is not ours: aiortc, decoding what it is sent.

  whip_server.py --token TOKEN

Prints {"whip": "http://127.0.0.1:PORT/cam"} when it is ready, then a line for each request but GET: {"method", "target", "status"}.
Who publishes must show the token. GET /frames says what was decoded so far: {"video": pictures, "audio": frames, "size": "WxH"}.
Serves until SIGTERM.
"""

import argparse
import asyncio
import json
import signal

import aioice.ice
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

# The server under test is on loopback, which aioice leaves out of its candidates.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

SESSIONS = {}
FRAMES = {"video": 0, "audio": 0, "size": ""}
COUNTING = set()


async def count(track):
    """Counts what a track brings until it ends."""
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        FRAMES[track.kind] += 1
        if track.kind == "video":
            FRAMES["size"] = f"{frame.width}x{frame.height}"


async def answered(offer):
    """A session with its answer."""
    connection = RTCPeerConnection()

    @connection.on("track")
    def on_track(track):
        COUNTING.add(asyncio.ensure_future(count(track)))

    await connection.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    return connection


async def serve(reader, writer, token):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    request, *lines = head.split("\r\n")
    method, target, _ = request.split(" ")
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    headers = {name.lower(): value for name, value in headers.items()}
    body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
    status, answer, extra = "404 Not Found", "", ""
    if method == "GET" and target == "/frames":
        status, answer = "200 OK", json.dumps(FRAMES)
    elif headers.get("authorization") != f"Bearer {token}":
        status = "401 Unauthorized"
    elif method == "POST" and target == "/cam" and headers.get("content-type") == "application/sdp":
        name = f"/session/{len(SESSIONS) + 1}"
        SESSIONS[name] = await answered(body)
        status, answer = "201 Created", SESSIONS[name].localDescription.sdp
        extra = f"Location: {name}\r\nContent-Type: application/sdp\r\n"
    elif method == "DELETE" and target in SESSIONS:
        await SESSIONS[target].close()
        status = "200 OK"
    if method != "GET":
        print(json.dumps({"method": method, "target": target, "status": status}), flush=True)
    head = f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(answer.encode())}\r\nConnection: close\r\n\r\n"
    writer.write((head + answer).encode())
    await writer.drain()
    writer.close()


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--token", required=True)
    token = parser.parse_args().token
    server = await asyncio.start_server(lambda reader, writer: serve(reader, writer, token), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"whip": f"http://127.0.0.1:{port}/cam"}), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    for connection in SESSIONS.values():
        await connection.close()


asyncio.run(main())
