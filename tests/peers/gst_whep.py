"""A WebRTC viewer that is neither a browser nor aiortc: GStreamer's webrtcbin over WHEP, decoding what it gets.

  gst_whep.py --url http://HOST/PATH/whep --codec H264|H265 --seconds N

Prints one line of JSON:
  status            of the POST's response; with "body" when it is a refusal
  answer            the SDP answer
  access_units      how many whole ones came out of the depayloader
  key_frames        how many of them were random access points
  pictures          how many the decoder showed
  size              [width, height] of the last one
"""

import argparse
import hashlib
import json
import pathlib
import re
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

DECODE = {
    "H264": "rtph264depay ! h264parse ! video/x-h264,alignment=au ! identity name=units ! avdec_h264",
    "H265": "rtph265depay ! h265parse ! video/x-h265,alignment=au ! identity name=units ! avdec_h265",
}


def ecdsa_identity():
    """GStreamer makes an RSA certificate; str0m's DTLS asks for ECDSA, as browsers use (RFC 8827 s6.5)."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = pathlib.Path(folder, "key"), pathlib.Path(folder, "certificate")
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        made += ["-nodes", "-days", "2", "-subj", "/CN=viewer", "-keyout", key, "-out", certificate]
        subprocess.run(made, check=True, capture_output=True)
        return certificate.read_text() + key.read_text()


class Viewer:
    def __init__(self, arguments):
        self.arguments = arguments
        self.report = {"access_units": 0, "key_frames": 0, "pictures": 0, "size": None}
        self.loop = GLib.MainLoop()
        self.identity = ecdsa_identity()
        self.pipeline = Gst.Pipeline.new("viewer")
        self.pipeline.connect("deep-element-added", self.identify)
        self.rtc = Gst.ElementFactory.make("webrtcbin", "rtc")
        self.rtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.rtc)
        # The server under test listens on loopback, which libnice leaves out of its candidates.
        self.ice = self.rtc.get_property("ice-agent")
        self.ice.emit("add-local-ip-address", "127.0.0.1")
        caps = f"application/x-rtp,media=video,encoding-name={arguments.codec},clock-rate=90000,payload=96"
        if arguments.codec == "H264":
            caps += ",packetization-mode=(string)1,profile-level-id=(string)42e01f"
        receive = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
        self.rtc.emit("add-transceiver", receive, Gst.Caps.from_string(caps))
        self.rtc.connect("on-negotiation-needed", self.offer)
        self.rtc.connect("notify::ice-gathering-state", self.gathered)
        self.rtc.connect("pad-added", self.play)

    def identify(self, _pipeline, _bin, element):
        if element.get_factory() and element.get_factory().get_name() == "dtlsdec":
            element.set_property("pem", self.identity)

    def offer(self, rtc):
        # On a thread of its own: the answer comes from webrtcbin's, which calls this.
        threading.Thread(target=self.make_offer, args=(rtc,), daemon=True).start()

    def make_offer(self, rtc):
        promise = Gst.Promise.new()
        rtc.emit("create-offer", None, promise)
        promise.wait()
        reply = promise.get_reply()
        made = reply.get_value("offer")
        # Made anew: what comes out of the reply does not outlive it.
        _, sdp = GstSdp.SDPMessage.new_from_text(made.sdp.as_text())
        offer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.OFFER, sdp)
        rtc.emit("set-local-description", offer, Gst.Promise.new())

    def gathered(self, rtc, _property):
        if rtc.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            offer = self.with_fingerprint(rtc.get_property("local-description").sdp.as_text())
            threading.Thread(target=self.post, args=(offer,), daemon=True).start()

    def with_fingerprint(self, offer):
        """webrtcbin states that of the certificate which it had before."""
        certificate = self.identity[: self.identity.index("-----BEGIN PRIVATE")]
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest().upper()
        pairs = ":".join(digest[at : at + 2] for at in range(0, 64, 2))
        return re.sub(r"a=fingerprint:sha-256 \S+", "a=fingerprint:sha-256 " + pairs, offer)

    def post(self, offer):
        headers = {"Content-Type": "application/sdp"}
        call = urllib.request.Request(self.arguments.url, offer.encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(call, timeout=20) as answer:
                self.report |= {"status": answer.status, "answer": answer.read().decode()}
        except urllib.error.HTTPError as error:
            self.report |= {"status": error.code, "body": error.read().decode(), "offer": offer}
            GLib.idle_add(self.loop.quit)
            return
        _, sdp = GstSdp.SDPMessage.new_from_text(self.report["answer"])
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        self.rtc.emit("set-remote-description", answer, Gst.Promise.new())

    def play(self, _rtc, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        chain = DECODE[self.arguments.codec] + " ! identity name=pictures ! fakesink sync=false"
        sink = Gst.parse_bin_from_description(chain, True)
        self.pipeline.add(sink)
        sink.get_by_name("units").get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, self.unit)
        sink.get_by_name("pictures").get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, self.picture)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def unit(self, _pad, info):
        self.report["access_units"] += 1
        is_delta = info.get_buffer().has_flags(Gst.BufferFlags.DELTA_UNIT)
        self.report["key_frames"] += not is_delta
        return Gst.PadProbeReturn.OK

    def picture(self, pad, _info):
        self.report["pictures"] += 1
        shape = pad.get_current_caps().get_structure(0)
        self.report["size"] = [shape.get_value("width"), shape.get_value("height")]
        return Gst.PadProbeReturn.OK

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add(int(self.arguments.seconds * 1000), self.loop.quit)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        return self.report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--codec", required=True, choices=sorted(DECODE))
    parser.add_argument("--seconds", type=float, default=8)
    arguments = parser.parse_args()
    Gst.init(None)
    print(json.dumps(Viewer(arguments).run()), flush=True)


main()
