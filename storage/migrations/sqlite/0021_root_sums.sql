-- What the files below each folder of recordings come to that are on its disk, kept by the triggers below: to count them takes
-- seconds where there are millions. In a folder within another they count for both.
CREATE TABLE root_sums (
    root TEXT PRIMARY KEY REFERENCES roots (root) ON DELETE CASCADE,
    -- What the names of its files begin with.
    below TEXT NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER roots_added AFTER INSERT ON roots BEGIN
    INSERT INTO root_sums VALUES (NEW.root, rtrim(NEW.root, '/') || '/', 0);
    UPDATE root_sums SET bytes = (SELECT COALESCE(SUM(bytes), 0) FROM files LEFT JOIN objects ON object_file = files.id
        WHERE substr(name, 1, length(below)) = below AND COALESCE(local_state, 'there') = 'there')
    WHERE root = NEW.root;
END;

INSERT INTO root_sums SELECT root, rtrim(root, '/') || '/', 0 FROM roots;
UPDATE root_sums SET bytes = (SELECT COALESCE(SUM(bytes), 0) FROM files LEFT JOIN objects ON object_file = files.id
    WHERE substr(name, 1, length(below)) = below AND COALESCE(local_state, 'there') = 'there');

CREATE TRIGGER files_added_below AFTER INSERT ON files BEGIN
    UPDATE root_sums SET bytes = bytes + NEW.bytes WHERE substr(NEW.name, 1, length(below)) = below;
END;

CREATE TRIGGER files_grown_below AFTER UPDATE OF bytes ON files WHEN NEW.bytes <> OLD.bytes BEGIN
    UPDATE root_sums SET bytes = bytes + NEW.bytes - OLD.bytes WHERE substr(NEW.name, 1, length(below)) = below;
END;

-- Before the deletion: until then its object tells whether it is on its disk.
CREATE TRIGGER files_gone_below BEFORE DELETE ON files
WHEN NOT EXISTS (SELECT 1 FROM objects WHERE object_file = OLD.id AND local_state <> 'there') BEGIN
    UPDATE root_sums SET bytes = bytes - OLD.bytes WHERE substr(OLD.name, 1, length(below)) = below;
END;

CREATE TRIGGER files_left_disk AFTER UPDATE OF local_state ON objects
WHEN OLD.local_state = 'there' AND NEW.local_state <> 'there' BEGIN
    UPDATE root_sums SET bytes = bytes - (SELECT bytes FROM files WHERE id = NEW.object_file)
    WHERE EXISTS (SELECT 1 FROM files WHERE id = NEW.object_file AND substr(name, 1, length(below)) = below);
END;
