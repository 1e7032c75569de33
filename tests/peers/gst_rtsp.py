"""An RTSP client that is not ffmpeg: GStreamer's rtspsrc reading, decoding what it gets.

  gst_rtsp.py --url rtsp://HOST/PATH --transport tcp|udp --pictures N

Reads until N pictures were shown and prints one line of JSON:
  pictures          how many the decoder showed
  sounds            how many buffers of decoded sound there were
  lost              packets that the jitter buffers missed
  errors            errors on the bus
"""

import argparse
import json

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402


class Reader:
    def __init__(self, arguments):
        self.wanted = arguments.pictures
        self.report = {"pictures": 0, "sounds": 0, "lost": 0, "errors": 0}
        self.buffers = []
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.Pipeline.new("reader")
        self.source = Gst.ElementFactory.make("rtspsrc", "source")
        self.source.set_property("location", arguments.url)
        self.source.set_property("protocols", arguments.transport)
        # No jitter buffer worth the name: nothing is to be smoothed over.
        self.source.set_property("latency", 200)
        self.pipeline.add(self.source)
        self.source.connect("pad-added", self.play)
        self.pipeline.connect("deep-element-added", self.notice)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.failed)

    def notice(self, _pipeline, _bin, element):
        if element.get_factory() and element.get_factory().get_name() == "rtpjitterbuffer":
            self.buffers.append(element)

    def failed(self, _bus, message):
        self.report["errors"] += 1
        self.report["error"] = str(message.parse_error())
        self.loop.quit()

    def play(self, _source, pad):
        caps = pad.get_current_caps() or pad.query_caps(None)
        is_video = caps.get_structure(0).get_string("media") == "video"
        sink = Gst.parse_bin_from_description("decodebin ! identity name=seen ! fakesink sync=false", True)
        self.pipeline.add(sink)
        probe = self.picture if is_video else self.sound
        sink.get_by_name("seen").get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, probe)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def picture(self, _pad, _info):
        self.report["pictures"] += 1
        if self.report["pictures"] >= self.wanted:
            GLib.idle_add(self.loop.quit)
        return Gst.PadProbeReturn.OK

    def sound(self, _pad, _info):
        self.report["sounds"] += 1
        return Gst.PadProbeReturn.OK

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add_seconds(50, self.loop.quit)
        self.loop.run()
        for buffer in self.buffers:
            self.report["lost"] += buffer.get_property("stats").get_value("num-lost")
        self.pipeline.set_state(Gst.State.NULL)
        return self.report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--transport", required=True, choices=["tcp", "udp"])
    parser.add_argument("--pictures", type=int, default=100)
    arguments = parser.parse_args()
    Gst.init(None)
    print(json.dumps(Reader(arguments).run()), flush=True)


main()
