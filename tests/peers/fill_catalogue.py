"""A week of recordings in a catalogue, without the recordings: what is asked of many rows is to be measured.

  fill_catalogue.py FILE CAMERAS

FILE is a catalogue that the server has made. Each of cam_1 ... cam_CAMERAS gets 10,080 files of one minute with a GOP
a second, up to now, in runs of a day with a gap of a minute between them. Prints {"rows": N}.
"""

import json
import sqlite3
import sys
import time

MINUTES = 7 * 24 * 60
MINUTE_US = 60_000_000
FILE_BYTES = 30_000_000
FIRST_OFFSET = 1000


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def gops():
    """60 entries: bytes, ticks doubled with the random access flag below, composition offset."""
    each = (FILE_BYTES - FIRST_OFFSET) // 60
    return (varint(each) + varint(90_000 << 1 | 1) + varint(0)) * 60


def rows(cameras):
    begin = int(time.time() * 1e6) - MINUTES * MINUTE_US
    index = gops()
    for minute in range(MINUTES):
        day, number = divmod(minute, 24 * 60)
        if number == 0 and minute > 0:
            continue
        for camera in range(1, cameras + 1):
            start = begin + minute * MINUTE_US + camera * 1000
            run = begin + day * 24 * 60 * MINUTE_US + camera * 1000
            ticks = number * 60 * 90_000
            yield (f"cam_{camera}", f"/nowhere/cam_{camera}/{start}.mp4", "closed", run, number, start, MINUTE_US,
                   FIRST_OFFSET, FILE_BYTES, 90_000, ticks, 60 * 90_000, index)


def main():
    file, cameras = sys.argv[1], int(sys.argv[2])
    catalogue = sqlite3.connect(file)
    catalogue.execute("PRAGMA synchronous = OFF")
    columns = ("path, name, state, run, number, start_us, duration_us, first_offset, bytes, timescale, first_ticks,"
               " duration_ticks, gops")
    catalogue.executemany(f"INSERT INTO files ({columns}) VALUES ({', '.join('?' * 13)})", rows(cameras))
    catalogue.commit()
    print(json.dumps({"rows": catalogue.execute("SELECT COUNT(*) FROM files").fetchone()[0]}))


main()
