"""A receiver of webhooks that is not ours: signatures by hmac and hashlib alone, as Standard Webhooks 1.0 has them.

  webhook_receiver.py --secret TEXT [--refuse N] [--redirect URL]

Prints {"url": "http://127.0.0.1:PORT"} when it is ready, then a line for each POST: {"target", "id", "signed", "status", "body"}.
`signed` is why a signature is not right, or "yes". The first N POSTs are answered 503, and with --redirect all of them 307. Serves
until SIGTERM.
"""

import argparse
import base64
import hashlib
import hmac
import http.server
import json
import time


def fault(headers, body, secret):
    """Why a request is not authentic, or None."""
    identity, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not identity or abs(time.time() - int(stamp or 0)) > 60:
        return f"stale or unnamed: {identity!r} of {stamp!r}"
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    due = hmac.new(key, f"{identity}.{stamp}.".encode() + body, hashlib.sha256).digest()
    given = headers.get("webhook-signature", "")
    right = hmac.compare_digest(given, "v1," + base64.b64encode(due).decode())
    return None if right else f"wrong signature {given!r}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--refuse", type=int, default=0)
    parser.add_argument("--redirect")
    arguments = parser.parse_args()
    left = [arguments.refuse]

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            status = 307 if arguments.redirect else 503 if left[0] > 0 else 204
            left[0] -= 1
            # Before the answer, so that what is printed comes in the order of what was sent, and nothing is still to be printed when the
            # sender has ended. In one write: requests are answered by threads.
            print(end=json.dumps({
                "target": self.path,
                "id": self.headers.get("webhook-id"),
                "signed": fault(self.headers, body, arguments.secret) or "yes",
                "status": status,
                "body": json.loads(body),
            }) + "\n", flush=True)
            self.send_response(status)
            if arguments.redirect:
                self.send_header("location", arguments.redirect)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()


main()
