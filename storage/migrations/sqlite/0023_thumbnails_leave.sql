-- Thumbnails leave their disk with the file, for good: what is gone is not counted by a quota.
DELETE FROM thumbnails WHERE file IN (SELECT object_file FROM objects WHERE local_state <> 'there');

CREATE TRIGGER thumbnails_left_disk AFTER UPDATE OF local_state ON objects
WHEN OLD.local_state = 'there' AND NEW.local_state <> 'there' BEGIN
    DELETE FROM thumbnails WHERE file = NEW.object_file;
END;
