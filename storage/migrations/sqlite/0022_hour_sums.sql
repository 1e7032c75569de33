-- What each path's files come to by the hour in which they begin, kept by the triggers below: how fast all paths grow is then
-- told by a page of rows, and not by a day of files.
CREATE TABLE hour_sums (
    -- Since 1970, UTC.
    hour INTEGER NOT NULL,
    path TEXT NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (hour, path)
) STRICT, WITHOUT ROWID;

INSERT INTO hour_sums SELECT start_us / 3600000000, path, COUNT(*), SUM(bytes) FROM files GROUP BY 1, 2;

CREATE TRIGGER files_added_in_hour AFTER INSERT ON files BEGIN
    INSERT INTO hour_sums (hour, path, files, bytes) VALUES (NEW.start_us / 3600000000, NEW.path, 1, NEW.bytes)
    ON CONFLICT (hour, path) DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER files_grown_in_hour AFTER UPDATE OF bytes ON files WHEN NEW.bytes <> OLD.bytes BEGIN
    UPDATE hour_sums SET bytes = bytes + NEW.bytes - OLD.bytes WHERE hour = OLD.start_us / 3600000000 AND path = OLD.path;
END;

CREATE TRIGGER files_gone_in_hour AFTER DELETE ON files BEGIN
    UPDATE hour_sums SET files = files - 1, bytes = bytes - OLD.bytes
    WHERE hour = OLD.start_us / 3600000000 AND path = OLD.path;
    DELETE FROM hour_sums WHERE hour = OLD.start_us / 3600000000 AND path = OLD.path AND files = 0;
END;
