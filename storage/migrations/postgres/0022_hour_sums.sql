-- What each path's files come to by the hour in which they begin, kept by the triggers below: how fast all paths grow is then
-- told by a page of rows, and not by a day of files. Those of this hour are written again each second: with half of each page
-- free they stay on it.
CREATE TABLE hour_sums (
    -- Since 1970, UTC.
    hour BIGINT NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (hour, path)
) WITH (fillfactor = 50);

INSERT INTO hour_sums SELECT start_us / 3600000000, path, COUNT(*), SUM(bytes) FROM files GROUP BY 1, 2;

CREATE FUNCTION file_counted_in_hour() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO hour_sums (hour, path, files, bytes) VALUES (NEW.start_us / 3600000000, NEW.path, 1, NEW.bytes)
        ON CONFLICT (hour, path) DO UPDATE SET files = hour_sums.files + 1, bytes = hour_sums.bytes + excluded.bytes;
    ELSIF TG_OP = 'UPDATE' THEN
        UPDATE hour_sums SET bytes = bytes + NEW.bytes - OLD.bytes
        WHERE hour = OLD.start_us / 3600000000 AND path = OLD.path;
    ELSE
        UPDATE hour_sums SET files = files - 1, bytes = bytes - OLD.bytes
        WHERE hour = OLD.start_us / 3600000000 AND path = OLD.path;
        DELETE FROM hour_sums WHERE hour = OLD.start_us / 3600000000 AND path = OLD.path AND files = 0;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER files_come_and_go_in_hour AFTER INSERT OR DELETE ON files FOR EACH ROW EXECUTE FUNCTION file_counted_in_hour();
CREATE TRIGGER files_grown_in_hour AFTER UPDATE OF bytes ON files FOR EACH ROW WHEN (NEW.bytes <> OLD.bytes)
    EXECUTE FUNCTION file_counted_in_hour();
