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
    object_key TEXT,
    -- A multipart upload that was begun and may still hold parts.
    upload_id TEXT,
    -- What the bucket said and what was sent.
    etag TEXT,
    sha256 BLOB,
    object_bytes INTEGER,
    stored_us INTEGER,
    -- The file on the disk: 'there', 'leaving' while it is being removed, 'gone' when only the object is left.
    local_state TEXT NOT NULL DEFAULT 'there' CHECK (local_state IN ('there', 'leaving', 'gone'))
) STRICT;

CREATE INDEX objects_to_send ON objects (object_file) WHERE object_state IN ('queued', 'sending');
CREATE INDEX objects_leaving ON objects (object_id) WHERE object_state = 'leaving';
CREATE INDEX objects_on_disk ON objects (object_file) WHERE object_state = 'stored' AND local_state = 'there';
CREATE INDEX objects_leaving_disk ON objects (object_file) WHERE local_state = 'leaving';

-- Every closed file has a row, bucket or not: the queue of one that is configured later begins with what there is.
INSERT INTO objects (object_file, object_state) SELECT id, 'queued' FROM files WHERE state = 'closed' ORDER BY id;

CREATE TRIGGER files_closed AFTER UPDATE OF state ON files WHEN NEW.state = 'closed' BEGIN
    INSERT INTO objects (object_file, object_state) SELECT NEW.id, 'queued'
    WHERE NOT EXISTS (SELECT 1 FROM objects WHERE object_file = NEW.id);
END;

CREATE TRIGGER files_closed_at_once AFTER INSERT ON files WHEN NEW.state = 'closed' BEGIN
    INSERT INTO objects (object_file, object_state) SELECT NEW.id, 'queued'
    WHERE NOT EXISTS (SELECT 1 FROM objects WHERE object_file = NEW.id);
END;

-- Whoever deletes a file's row leaves its object to be deleted: one transaction, so that none is forgotten.
CREATE TRIGGER files_deleted AFTER DELETE ON files BEGIN
    DELETE FROM objects WHERE object_file = OLD.id AND object_state = 'queued';
    UPDATE objects SET object_state = 'leaving', object_file = NULL WHERE object_file = OLD.id;
END;
