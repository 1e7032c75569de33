-- What the files below each folder of recordings come to that are on its disk, kept by the triggers below: to count them takes
-- seconds where there are millions. In a folder within another they count for both.
CREATE TABLE root_sums (
    root TEXT COLLATE "C" PRIMARY KEY REFERENCES roots (root) ON DELETE CASCADE,
    -- What the names of its files begin with.
    below TEXT NOT NULL,
    bytes BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE FUNCTION bytes_counted(below TEXT) RETURNS BIGINT LANGUAGE sql STABLE AS $$
    SELECT COALESCE(SUM(files.bytes), 0)::BIGINT FROM files LEFT JOIN objects ON object_file = files.id
    WHERE starts_with(name, below) AND COALESCE(local_state, 'there') = 'there'
$$;

CREATE FUNCTION root_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO root_sums VALUES (NEW.root, rtrim(NEW.root, '/') || '/', bytes_counted(rtrim(NEW.root, '/') || '/'));
    RETURN NULL;
END $$;

CREATE TRIGGER roots_added AFTER INSERT ON roots FOR EACH ROW EXECUTE FUNCTION root_added();

INSERT INTO root_sums SELECT root, rtrim(root, '/') || '/', bytes_counted(rtrim(root, '/') || '/') FROM roots;

CREATE FUNCTION file_grown_below() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE root_sums SET bytes = bytes + NEW.bytes - CASE TG_OP WHEN 'UPDATE' THEN OLD.bytes ELSE 0 END
    WHERE starts_with(NEW.name, below);
    RETURN NULL;
END $$;

CREATE TRIGGER files_added_below AFTER INSERT ON files FOR EACH ROW EXECUTE FUNCTION file_grown_below();
CREATE TRIGGER files_grown_below AFTER UPDATE OF bytes ON files FOR EACH ROW WHEN (NEW.bytes <> OLD.bytes)
    EXECUTE FUNCTION file_grown_below();

-- Before the deletion: until then its object tells whether it is on its disk.
CREATE FUNCTION file_gone_below() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM objects WHERE object_file = OLD.id AND local_state <> 'there') THEN
        UPDATE root_sums SET bytes = bytes - OLD.bytes WHERE starts_with(OLD.name, below);
    END IF;
    RETURN OLD;
END $$;

CREATE TRIGGER files_gone_below BEFORE DELETE ON files FOR EACH ROW EXECUTE FUNCTION file_gone_below();

CREATE FUNCTION file_left_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE root_sums SET bytes = root_sums.bytes - files.bytes FROM files
    WHERE files.id = NEW.object_file AND starts_with(files.name, below);
    RETURN NULL;
END $$;

CREATE TRIGGER files_left_disk AFTER UPDATE OF local_state ON objects FOR EACH ROW
    WHEN (OLD.local_state = 'there' AND NEW.local_state <> 'there') EXECUTE FUNCTION file_left_disk();
