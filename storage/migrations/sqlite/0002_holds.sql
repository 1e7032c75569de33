-- What is kept and why: holds, the disks' identities, what operators turned off, and the sums that retention goes by.
-- Times are microseconds since 1970, UTC.

-- Footage of an incident: a file that overlaps a hold which is not released is not deleted by any rule.
CREATE TABLE holds (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL,
    start_us INTEGER NOT NULL,
    end_us INTEGER NOT NULL CHECK (end_us > start_us),
    reason TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    -- NULL while it holds.
    released_us INTEGER,
    released_by TEXT
) STRICT;

CREATE INDEX holds_active ON holds (path, start_us) WHERE released_us IS NULL;

-- The disk that is known at each folder of recordings: what its identity file says.
CREATE TABLE roots (
    root TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    since_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Paths whose recording an operator turned off.
CREATE TABLE switched_off (
    path TEXT PRIMARY KEY,
    at_us INTEGER NOT NULL,
    by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The oldest first, whatever the path: who goes first when a disk fills up.
CREATE INDEX files_by_start ON files (start_us);

-- What each path's files come to, kept by the triggers below, so that a quota costs no scan.
CREATE TABLE usage (
    path TEXT PRIMARY KEY,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO usage SELECT path, COUNT(*), SUM(bytes) FROM files GROUP BY path;

CREATE TRIGGER files_added AFTER INSERT ON files BEGIN
    INSERT INTO usage (path, files, bytes) VALUES (NEW.path, 1, NEW.bytes)
    ON CONFLICT (path) DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER files_grown AFTER UPDATE OF bytes ON files WHEN NEW.bytes <> OLD.bytes BEGIN
    UPDATE usage SET bytes = bytes + NEW.bytes - OLD.bytes WHERE path = NEW.path;
END;

CREATE TRIGGER files_gone AFTER DELETE ON files BEGIN
    UPDATE usage SET files = files - 1, bytes = bytes - OLD.bytes WHERE path = OLD.path;
    DELETE FROM usage WHERE path = OLD.path AND files = 0;
END;

-- 1 for a file that was found to lack its end: the next one of its run does not continue it.
ALTER TABLE files ADD COLUMN is_cut INTEGER NOT NULL DEFAULT 0;

-- Rules have the names that the API tells: age, quota, space, operator, missing.
UPDATE deletions SET rule = 'age' WHERE rule = 'recordDeleteAfter';
-- Who, where an operator did it.
ALTER TABLE deletions ADD COLUMN by TEXT NOT NULL DEFAULT '';
CREATE INDEX deletions_by_media ON deletions (path, start_us);
