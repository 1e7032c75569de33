-- Recorded files, what is missing between them, and what was deleted.
-- Times are microseconds since 1970, UTC.

CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    -- The stream.
    path TEXT NOT NULL,
    -- The file, absolute.
    name TEXT NOT NULL UNIQUE,
    -- 'open' until it is whole and its index is in the last column.
    state TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    -- Files of one run with successive numbers have nothing between them.
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    start_us INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    -- Where the first part begins and the last whole one that is known to be on the disk ends.
    first_offset INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    -- Of the leading track: ticks a second, and decode time of the first picture.
    timescale INTEGER NOT NULL,
    first_ticks INTEGER NOT NULL,
    duration_ticks INTEGER NOT NULL,
    -- GOPs, see media_core::egress::recorder::index. Last, so that a scan of the rows need not read it.
    gops BLOB NOT NULL
) STRICT;

CREATE INDEX files_by_path ON files (path, start_us);
CREATE INDEX files_open ON files (state) WHERE state = 'open';

-- The GOPs of files that are open: a few each second, so that nothing large is written again and again.
CREATE TABLE open_gops (
    file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    -- How many stand before.
    position INTEGER NOT NULL,
    gops BLOB NOT NULL,
    PRIMARY KEY (file, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE gaps (
    path TEXT NOT NULL,
    from_us INTEGER NOT NULL,
    -- NULL while it lasts.
    until_us INTEGER,
    reason TEXT NOT NULL CHECK (reason IN ('camera', 'disk', 'operator', 'server')),
    PRIMARY KEY (path, from_us)
) STRICT, WITHOUT ROWID;

-- Every deletion: what, when, by which rule.
CREATE TABLE deletions (
    id INTEGER PRIMARY KEY,
    at_us INTEGER NOT NULL,
    rule TEXT NOT NULL,
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    start_us INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    -- 0 until the file itself is gone, which comes after its row.
    unlinked INTEGER NOT NULL
) STRICT;

CREATE INDEX deletions_pending ON deletions (unlinked) WHERE unlinked = 0;
