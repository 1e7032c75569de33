"""A day of recordings, made of one file that a server recorded: what players do with 24 hours is to be seen without waiting for
them.

  record_day.py CATALOGUE MINUTE...

CATALOGUE is of a server that has ended. The first closed file in it is taken as a piece, of which a day of files is made, each of
as many pieces as a minute holds, in one run: their rows take the place of all others of the path. The files themselves are made
for each MINUTE that somebody will look at, and the one behind it. In each copy of a part its decode time (tfdt, ISO/IEC 14496-12
s8.8.12) is moved to where it belongs. Prints {"start_us", "piece_us", "file_us", "files"}.
"""

import json
import os
import sqlite3
import struct
import sys
import time

MINUTES = 24 * 60


def moved(parts, ticks):
    """The same parts, decoded so much later."""
    out = bytearray(parts)
    at = 0
    while at < len(out):
        size, kind = struct.unpack_from(">I4s", out, at)
        if kind == b"moof":
            tfdt = out.index(b"tfdt", at, at + size)
            assert out[tfdt + 4] == 1, "a time of 64 bits"
            struct.pack_into(">Q", out, tfdt + 8, struct.unpack_from(">Q", out, tfdt + 8)[0] + ticks)
        at += size
    return out


def main():
    minutes = {int(minute) for minute in sys.argv[2:]}
    catalogue = sqlite3.connect(sys.argv[1])
    columns = ("path", "name", "run", "first_offset", "bytes", "timescale", "first_ticks", "duration_ticks", "gops")
    row = catalogue.execute(f"SELECT {', '.join(columns)} FROM files WHERE state = 'closed' ORDER BY start_us").fetchone()
    path, name, run, first, end, timescale, first_ticks, piece_ticks, gops = row
    with open(name, "rb") as file:
        head, parts = file.read(first), file.read(end - first)
    pieces = 60 * timescale // piece_ticks
    file_ticks = pieces * piece_ticks
    file_us = file_ticks * 1_000_000 // timescale
    start_us = int(time.time() * 1e6) - (MINUTES + 5) * file_us
    rows = []
    for minute in range(MINUTES):
        begin_us = start_us + minute * file_us
        seconds, micros = divmod(begin_us, 1_000_000)
        file = os.path.join(os.path.dirname(name), f"{seconds}-{micros:06}.mp4")
        rows.append((path, file, "closed", run, minute, begin_us, file_us, first, first + pieces * len(parts), timescale,
                     first_ticks + minute * file_ticks, file_ticks, gops * pieces))
        if minute in minutes or minute - 1 in minutes:
            with open(file, "wb") as out:
                out.write(head)
                for piece in range(pieces):
                    out.write(moved(parts, minute * file_ticks + piece * piece_ticks))
    catalogue.execute("DELETE FROM files WHERE path = ?", (path,))
    catalogue.execute("DELETE FROM gaps WHERE path = ?", (path,))
    catalogue.executemany(
        "INSERT INTO files (path, name, state, run, number, start_us, duration_us, first_offset, bytes, timescale, first_ticks,"
        f" duration_ticks, gops) VALUES ({', '.join('?' * 13)})", rows)
    catalogue.commit()
    print(json.dumps({"start_us": start_us, "piece_us": piece_ticks * 1_000_000 // timescale, "file_us": file_us,
                      "files": MINUTES}))


main()
