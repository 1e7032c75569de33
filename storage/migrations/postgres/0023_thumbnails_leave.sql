-- Thumbnails leave their disk with the file, for good: what is gone is not counted by a quota.
DELETE FROM thumbnails WHERE file IN (SELECT object_file FROM objects WHERE local_state <> 'there');

CREATE FUNCTION thumbnails_left_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM thumbnails WHERE file = NEW.object_file;
    RETURN NULL;
END $$;

CREATE TRIGGER thumbnails_left_disk AFTER UPDATE OF local_state ON objects FOR EACH ROW
    WHEN (OLD.local_state = 'there' AND NEW.local_state <> 'there') EXECUTE FUNCTION thumbnails_left_disk();
