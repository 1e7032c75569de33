"""An RTSP reader: GStreamer's rtspsrc, which takes so many buffers of each kind of media and ends.

  gst_rtsp.py --url rtsp[s]://... --lower tcp|udp|udp-mcast [--interface lo] --take KIND:N:CHAIN ...

KIND is video or audio, CHAIN the elements behind rtspsrc, for instance `rtph264depay ! h264parse`; what is not taken is
read all the same. A description for gst-launch does not do: with two streams that appear on two threads at once, its
delayed links take each other's pad now and then, and it waits for ever (GStreamer 1.22).

Prints one line of JSON:
  buffers           how many came, by kind
  error             what GStreamer complained of, or null
"""

import argparse
import json
import threading

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

# Of the whole; whoever starts this has a limit of its own behind it.
SECONDS = 50


class Reader:
    def __init__(self, arguments):
        self.wanted = {}
        self.chains = {}
        for take in arguments.take:
            kind, count, chain = take.split(":", 2)
            self.wanted[kind] = int(count)
            self.chains[kind] = chain
        self.buffers = dict.fromkeys(self.wanted, 0)
        self.error = None
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.Pipeline.new("reader")
        # Each stream calls on a thread of its own; PyGObject fills in its classes at first use, and two threads that
        # come to one at once find it half empty.
        self.one_at_a_time = threading.Lock()
        source = Gst.ElementFactory.make("rtspsrc", "source")
        source.set_property("location", arguments.url)
        source.set_property("latency", 100)
        source.set_property("tls-validation-flags", 0)
        Gst.util_set_object_arg(source, "protocols", arguments.lower)
        if arguments.interface:
            source.set_property("multicast-iface", arguments.interface)
        source.connect("pad-added", self.link)
        self.pipeline.add(source)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.fail)
        bus.connect("message::eos", lambda _bus, _message: self.loop.quit())

    def link(self, _source, pad):
        with self.one_at_a_time:
            kind = pad.query_caps(None).get_structure(0).get_string("media")
            # Each kind once: a second stream of it is read and not counted.
            is_taken = kind in self.chains
            chain = self.chains.pop(kind, "identity")
            # async=false: a sink does not wait until the other stream's has its first buffer.
            sink = Gst.parse_bin_from_description(chain + " ! fakesink name=end sync=false async=false", True)
            self.pipeline.add(sink)
            if is_taken:
                end = sink.get_by_name("end").get_static_pad("sink")
                end.add_probe(Gst.PadProbeType.BUFFER, self.count, kind)
            sink.sync_state_with_parent()
            pad.link(sink.get_static_pad("sink"))

    def count(self, _pad, _info, kind):
        with self.one_at_a_time:
            self.buffers[kind] += 1
            if all(self.buffers[one] >= count for one, count in self.wanted.items()):
                GLib.idle_add(self.loop.quit)
            return Gst.PadProbeReturn.OK

    def fail(self, _bus, message):
        error, details = message.parse_error()
        self.error = f"{error.message} {details}"
        self.loop.quit()

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add_seconds(SECONDS, self.loop.quit)
        self.loop.run()
        report = {"buffers": dict(self.buffers), "error": self.error}
        self.pipeline.set_state(Gst.State.NULL)
        return report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--lower", required=True)
    parser.add_argument("--interface")
    parser.add_argument("--take", action="append", required=True)
    arguments = parser.parse_args()
    Gst.init(None)
    print(json.dumps(Reader(arguments).run()))


if __name__ == "__main__":
    main()
