"""The camera that is not ours: an RTSP server of GStreamer (GstRtspServer).

  gst_camera.py [--user NAME --password WORD [--tls PEM]] MOUNT=KIND ...

KIND is h264, h265, h264+aac, h264+pcma or h264+opus: a moving test picture at
25 frames a second, GOP of 2 s, 640x360. A viewer may ask for TCP or UDP, as it likes.
With a user it asks for Digest. With --tls, a file with a private key and a certificate, it speaks
RTSPS only. Prints {"rtsp": "127.0.0.1:PORT"} when it is ready and serves until SIGTERM.
"""

import argparse
import json
import signal

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

PICTURE = (
    "videotestsrc is-live=true pattern=ball"
    " ! video/x-raw,format=I420,width=640,height=360,framerate=25/1 ! "
)
H264 = PICTURE + (
    "x264enc tune=zerolatency speed-preset=ultrafast bitrate=800 key-int-max=50"
    " ! video/x-h264,profile=main ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1"
)
H265 = PICTURE + (
    "x265enc tune=zerolatency speed-preset=ultrafast bitrate=800 key-int-max=50"
    " ! h265parse ! rtph265pay name=pay0 pt=96 config-interval=-1"
)
TONE = " audiotestsrc is-live=true wave=sine freq=440 ! audioconvert ! audioresample ! "
KINDS = {
    "h264": H264,
    "h265": H265,
    "h264+aac": H264 + TONE + "audio/x-raw,rate=48000,channels=1 ! avenc_aac ! aacparse"
    " ! rtpmp4gpay name=pay1 pt=97",
    "h264+pcma": H264 + TONE + "audio/x-raw,rate=8000,channels=1 ! alawenc"
    " ! rtppcmapay name=pay1 pt=8",
    "h264+opus": H264 + TONE + "audio/x-raw,rate=48000,channels=2 ! opusenc"
    " ! rtpopuspay name=pay1 pt=97",
}


def mount(server, name, kind, needs_sign_in):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch("( " + KINDS[kind] + " )")
    factory.set_shared(True)
    if needs_sign_in:
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/" + name, factory)


def require_digest(auth, user, password):
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_digest(user, password, token)


def make_auth(arguments):
    auth = GstRtspServer.RTSPAuth()
    require_digest(auth, arguments.user, arguments.password)
    if arguments.tls:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(arguments.tls))
    return auth


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--tls")
    parser.add_argument("mounts", nargs="+", metavar="MOUNT=KIND")
    arguments = parser.parse_args()

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    if arguments.user:
        server.set_auth(make_auth(arguments))
    for name, kind in (item.split("=", 1) for item in arguments.mounts):
        mount(server, name, kind, bool(arguments.user))
    server.attach(None)

    loop = GLib.MainLoop()
    GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGTERM, loop.quit)
    print(json.dumps({"rtsp": f"127.0.0.1:{server.get_bound_port()}"}), flush=True)
    loop.run()


main()
