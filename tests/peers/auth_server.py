"""Whoever decides about callers, that is not ours: an authentication server, and an identity provider with its keys.

  auth_server.py

  POST /auth      MediaMTX's question; 200 for maria with s3cret on what begins with cam_1, and for ?ticket=right; else 401.
                  /auth?slow answers after ten seconds, /auth?broken with 500.
  GET /asked      {"asked": [questions], "connections": N, "keys": N}: what was asked so far
  GET /jwks       the public keys, one of a kind that nobody knows among them; not in /jwks?known. GET /rotate replaces them
  GET /token?...  a token: alg (ES256, RS256, none, HS256: signed with the public key's text), exp (seconds from now), iss, aud, kid,
                  claim, permissions (JSON), text=1 (the permissions as a text), foreign=1 (signed by somebody else)

Prints {"port": N} when it is ready. Serves until SIGTERM.
"""

import base64
import hashlib
import hmac
import json
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Keys:
    """An EC and an RSA key, with ids of their own."""

    def __init__(self, generation):
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ids = {"ES256": f"ec-{generation}", "RS256": f"rsa-{generation}"}

    def public(self):
        point, modulus = self.ec.public_key().public_numbers(), self.rsa.public_key().public_numbers()
        return {"keys": [
            {"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.ids["ES256"],
             "x": b64(point.x.to_bytes(32, "big")), "y": b64(point.y.to_bytes(32, "big"))},
            {"kty": "RSA", "alg": "RS256", "kid": self.ids["RS256"], "n": number(modulus.n), "e": number(modulus.e)},
            {"kty": "from-another-world", "kid": "odd"},
        ]}

    def sign(self, algorithm, text):
        if algorithm == "ES256":
            r, s = decode_dss_signature(self.ec.sign(text, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if algorithm == "RS256":
            return self.rsa.sign(text, padding.PKCS1v15(), hashes.SHA256())
        if algorithm == "HS256":
            pem = self.rsa.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            return hmac.new(pem, text, hashlib.sha256).digest()
        return b""

    def token(self, asked, foreign):
        one = lambda name, default: asked.get(name, [default])[0]
        algorithm = one("alg", "ES256")
        header = {"alg": algorithm, "typ": "JWT"}
        kid = one("kid", self.ids.get(algorithm, self.ids["RS256"]))
        if kid:
            header["kid"] = kid
        permissions = json.loads(one("permissions", "[]"))
        claims = {"sub": "maria", "exp": int(time.time()) + int(one("exp", "60"))}
        claims[one("claim", "mediamtx_permissions")] = json.dumps(permissions) if "text" in asked else permissions
        claims.update({name: asked[name][0] for name in ("iss", "aud") if name in asked})
        text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}".encode()
        signer = foreign if "foreign" in asked else self
        return f"{text.decode()}.{b64(signer.sign(algorithm, text))}"


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.asked, self.connections, self.key_fetches, self.generation = [], 0, 0, 1
        self.keys, self.foreign = Keys(1), Keys(1)


STATE = State()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.counted = False

    def reply(self, status, body, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question["contentType"] = self.headers["Content-Type"]
        query = urlsplit(self.path).query
        with STATE.lock:
            STATE.asked.append(question)
            STATE.connections += not self.counted
        self.counted = True
        if query == "slow":
            time.sleep(10)
        if query == "broken":
            return self.reply(500, b"")
        knows = question["user"] == "maria" and question["password"] == "s3cret" and question["path"].startswith("cam_1")
        ticket = parse_qs(question["query"]).get("ticket") == ["right"]
        self.reply(200 if knows or ticket else 401, b"")

    def do_GET(self):
        url = urlsplit(self.path)
        with STATE.lock:
            if url.path == "/asked":
                told = {"asked": STATE.asked, "connections": STATE.connections, "keys": STATE.key_fetches}
                return self.reply(200, told)
            if url.path == "/jwks":
                STATE.key_fetches += 1
                keys = STATE.keys.public()
                if url.query == "known":
                    keys["keys"].pop()
                return self.reply(200, keys)
            if url.path == "/rotate":
                STATE.generation += 1
                STATE.keys = Keys(STATE.generation)
                return self.reply(200, {})
            if url.path == "/token":
                return self.reply(200, STATE.keys.token(parse_qs(url.query, keep_blank_values=True), STATE.foreign).encode(), "text/plain")
        self.reply(404, {})

    def log_message(self, *_):
        pass


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()
    sys.exit(0)


main()
