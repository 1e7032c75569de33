"""A camera's sign-in that is not ours: RTSP digest checked with nothing but hashlib (RFC 7616, RFC 2069).

  digest_door.py --to HOST:PORT --user NAME --password WORD --algorithm MD5|SHA-256 --qop auth|none

Stands before a camera that asks nobody: every request must carry a right and fresh answer to the challenge, which is taken off
before the request goes on; answers and media come back untouched. Prints {"rtsp": "127.0.0.1:PORT"} when it is ready, then one
line for each request, {"method": ..., "let_in": true | false, "why": ...}. Serves until SIGTERM.
"""

import argparse
import asyncio
import hashlib
import json
import re
import secrets
import signal

REALM = 'door of "the" camera'
FIELD = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


def fields(header):
    """The parameters of a Digest header, quoted-pairs undone."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "digest":
        return None
    found = FIELD.findall(rest)
    return {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in found}


class Door:
    def __init__(self, arguments):
        self.arguments = arguments
        self.host, port = arguments.to.rsplit(":", 1)
        self.port = int(port)
        self.counts = {}  # nonce: highest nc seen

    def digest(self, *parts):
        kind = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[self.arguments.algorithm]
        return kind(":".join(parts).encode()).hexdigest()

    def challenge(self):
        nonce = secrets.token_hex(16)
        self.counts[nonce] = 0
        quoted = REALM.replace("\\", "\\\\").replace('"', '\\"')
        text = f'Digest realm="{quoted}", nonce="{nonce}", algorithm={self.arguments.algorithm}, opaque="o:1"'
        return text + (', qop="auth"' if self.arguments.qop == "auth" else "")

    def fault(self, method, uri, header):
        """Why a request is not let in, or None."""
        given = fields(header or "")
        if not given:
            return "no digest"
        wanted = {"username": self.arguments.user, "realm": REALM, "uri": uri, "opaque": "o:1"}
        wrong = [name for name, value in wanted.items() if given.get(name) != value]
        nonce = given.get("nonce", "")
        if wrong or nonce not in self.counts:
            return f"wrong {wrong or 'nonce'}: {given}"
        if given.get("algorithm", "MD5") != self.arguments.algorithm:
            return f"wrong algorithm: {given}"
        secret = self.digest(self.arguments.user, REALM, self.arguments.password)
        action = self.digest(method, uri)
        if self.arguments.qop == "auth":
            count = int(given.get("nc", "0"), 16)
            if count <= self.counts[nonce] or len(given.get("nc", "")) != 8 or not given.get("cnonce"):
                return f"stale nc or no cnonce: {given}"
            self.counts[nonce] = count
            due = self.digest(secret, nonce, given["nc"], given["cnonce"], "auth", action)
        else:
            due = self.digest(secret, nonce, action)
        return None if secrets.compare_digest(due, given.get("response", "")) else f"wrong response: {given}"

    async def serve(self, reader, writer):
        upstream = await asyncio.open_connection(self.host, self.port)
        back = asyncio.create_task(pour(upstream[0], writer))
        try:
            while request := await read_request(reader):
                await self.pass_on(request, writer, upstream[1])
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            upstream[1].close()
            writer.close()
            back.cancel()

    async def pass_on(self, request, writer, upstream):
        if isinstance(request, bytes):  # interleaved: receiver reports
            upstream.write(request)
            return
        start, headers, body = request
        method, uri, _ = start.split(" ", 2)
        given = next((value for name, value in headers if name.lower() == "authorization"), None)
        why = self.fault(method, uri, given)
        print(json.dumps({"method": method, "let_in": why is None, "why": why}), flush=True)
        if why is None:
            kept = [f"{name}: {value}\r\n" for name, value in headers if name.lower() != "authorization"]
            upstream.write(f"{start}\r\n{''.join(kept)}\r\n".encode() + body)
            await upstream.drain()
            return
        cseq = next(value for name, value in headers if name.lower() == "cseq")
        answer = f"RTSP/1.0 401 Unauthorized\r\nCSeq: {cseq}\r\nWWW-Authenticate: {self.challenge()}\r\n\r\n"
        writer.write(answer.encode())
        await writer.drain()


async def read_request(reader):
    """A request as (start line, headers, body), an interleaved packet as bytes, None at the end."""
    first = await reader.read(1)
    if not first:
        return None
    if first == b"$":
        head = await reader.readexactly(3)
        return first + head + await reader.readexactly(int.from_bytes(head[1:], "big"))
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
    start, *lines = head.strip().split("\r\n")
    headers = [tuple(line.split(": ", 1)) for line in lines]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return start, headers, await reader.readexactly(length)


async def pour(reader, writer):
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    writer.close()


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("to", "user", "password", "algorithm", "qop"):
        parser.add_argument("--" + name, required=True)
    door = Door(parser.parse_args())
    server = await asyncio.start_server(door.serve, "127.0.0.1", 0)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print(json.dumps({"rtsp": "127.0.0.1:%d" % server.sockets[0].getsockname()[1]}), flush=True)
    await ended.wait()


asyncio.run(main())
