-- Copies of recorded files in a bucket, and whether a file is still on its disk.
-- Times are microseconds since 1970, UTC.

CREATE TABLE objects (
    -- Part of the key, and never used twice: a key names one file's bytes for ever.
    object_id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The file; NULL once that is deleted and only the object is left to go.
    object_file INTEGER UNIQUE,
    -- 'queued' until an upload begins, 'sending' from then on, 'stored' once the copy is confirmed; 'leaving' when its file
    -- was deleted: it is to be deleted too.
    object_state TEXT NOT NULL CHECK (object_state IN ('queued', 'sending', 'stored', 'leaving')),
    -- NULL until an upload begins.
    object_key TEXT UNIQUE,
    -- A multipart upload that was begun and may still hold parts.
    upload_id TEXT,
    -- What the bucket said and what was sent; the length is the file's until then.
    etag TEXT,
    sha256 BLOB,
    object_bytes INTEGER NOT NULL,
    stored_us INTEGER,
    -- The file on the disk: 'there', 'leaving' while it is being removed, 'gone' when only the object is left.
    local_state TEXT NOT NULL DEFAULT 'there' CHECK (local_state IN ('there', 'leaving', 'gone')),
    -- What its bytes are counted under in object_sums.
    place TEXT GENERATED ALWAYS AS (CASE
        WHEN object_state IN ('queued', 'sending') THEN 'queue'
        WHEN object_state = 'leaving' THEN 'leaving'
        WHEN local_state = 'there' THEN 'both'
        ELSE 'bucket' END) VIRTUAL
) STRICT;

-- Every closed file has a row, bucket or not: the queue of one that is configured later begins with what there is.
INSERT INTO objects (object_file, object_state, object_bytes) SELECT id, 'queued', bytes FROM files WHERE state = 'closed' ORDER BY id;

CREATE INDEX objects_to_send ON objects (object_file) WHERE object_state IN ('queued', 'sending');
CREATE INDEX objects_leaving ON objects (object_id) WHERE object_state = 'leaving';
CREATE INDEX objects_on_disk ON objects (object_file) WHERE object_state = 'stored' AND local_state = 'there';
CREATE INDEX objects_leaving_disk ON objects (object_file) WHERE local_state = 'leaving';

-- What objects come to, kept by the triggers below, so that telling it costs no scan: 'queue' waits for its upload, 'both' is
-- on a disk and in the bucket, 'bucket' is there only, 'leaving' is still to be deleted from it.
CREATE TABLE object_sums (
    place TEXT PRIMARY KEY,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO object_sums SELECT 'queue', COUNT(*), COALESCE(SUM(object_bytes), 0) FROM objects;
INSERT INTO object_sums VALUES ('both', 0, 0), ('bucket', 0, 0), ('leaving', 0, 0);

CREATE TRIGGER objects_added AFTER INSERT ON objects BEGIN
    UPDATE object_sums SET files = files + 1, bytes = bytes + NEW.object_bytes WHERE place = NEW.place;
END;

CREATE TRIGGER objects_changed AFTER UPDATE ON objects WHEN NEW.place <> OLD.place OR NEW.object_bytes <> OLD.object_bytes BEGIN
    UPDATE object_sums SET files = files - 1, bytes = bytes - OLD.object_bytes WHERE place = OLD.place;
    UPDATE object_sums SET files = files + 1, bytes = bytes + NEW.object_bytes WHERE place = NEW.place;
END;

CREATE TRIGGER objects_gone AFTER DELETE ON objects BEGIN
    UPDATE object_sums SET files = files - 1, bytes = bytes - OLD.object_bytes WHERE place = OLD.place;
END;

CREATE TRIGGER files_closed AFTER UPDATE OF state ON files WHEN NEW.state = 'closed' BEGIN
    INSERT INTO objects (object_file, object_state, object_bytes) SELECT NEW.id, 'queued', NEW.bytes
    WHERE NOT EXISTS (SELECT 1 FROM objects WHERE object_file = NEW.id);
END;

CREATE TRIGGER files_closed_at_once AFTER INSERT ON files WHEN NEW.state = 'closed' BEGIN
    INSERT INTO objects (object_file, object_state, object_bytes) SELECT NEW.id, 'queued', NEW.bytes
    WHERE NOT EXISTS (SELECT 1 FROM objects WHERE object_file = NEW.id);
END;

-- Whoever deletes a file's row leaves its object to be deleted: one transaction, so that none is forgotten.
CREATE TRIGGER files_deleted AFTER DELETE ON files BEGIN
    DELETE FROM objects WHERE object_file = OLD.id AND object_state = 'queued';
    UPDATE objects SET object_state = 'leaving', object_file = NULL WHERE object_file = OLD.id;
END;
