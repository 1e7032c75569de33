"""An RTSP client that is not ours: libcurl, which knows Digest with SHA-256.

  curl_rtsp.py --url rtsp://HOST/PATH --user NAME --password WORD

Asks DESCRIBE. Prints {"status": N, "sdp": TEXT, "challenge": ..., "curl": VERSION}.
"""

import argparse
import io
import json

import pycurl


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("url", "user", "password"):
        parser.add_argument("--" + name, required=True)
    arguments = parser.parse_args()
    body, headers = io.BytesIO(), io.BytesIO()
    curl = pycurl.Curl()
    curl.setopt(curl.URL, arguments.url)
    curl.setopt(curl.OPT_RTSP_STREAM_URI, arguments.url)
    curl.setopt(curl.OPT_RTSP_REQUEST, curl.RTSPREQ_DESCRIBE)
    curl.setopt(curl.HTTPAUTH, curl.HTTPAUTH_DIGEST)
    curl.setopt(curl.USERNAME, arguments.user)
    curl.setopt(curl.PASSWORD, arguments.password)
    curl.setopt(curl.WRITEDATA, body)
    curl.setopt(curl.HEADERFUNCTION, headers.write)
    curl.setopt(curl.TIMEOUT, 10)
    curl.perform()
    challenges = [line for line in headers.getvalue().decode().splitlines() if "authenticate" in line.lower()]
    print(json.dumps({
        "status": curl.getinfo(curl.RESPONSE_CODE),
        "sdp": body.getvalue().decode(),
        "challenge": challenges,
        "curl": pycurl.version,
    }))


main()
