-- What the thumbnails beside files come to: of files that have some.

CREATE TABLE thumbnails (
    file INTEGER PRIMARY KEY REFERENCES files (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;

-- A path's usage counts them.
CREATE TRIGGER thumbnails_added AFTER INSERT ON thumbnails BEGIN
    UPDATE usage SET bytes = bytes + NEW.bytes WHERE path = NEW.path;
END;

CREATE TRIGGER thumbnails_grown AFTER UPDATE OF bytes ON thumbnails BEGIN
    UPDATE usage SET bytes = bytes + NEW.bytes - OLD.bytes WHERE path = NEW.path;
END;

-- With the last file of its path its usage is gone, whichever comes first.
CREATE TRIGGER thumbnails_gone AFTER DELETE ON thumbnails BEGIN
    UPDATE usage SET bytes = bytes - OLD.bytes WHERE path = OLD.path;
END;
