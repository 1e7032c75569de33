-- A gap may say that the server's clock was set.
CREATE TABLE gaps_new (
    path TEXT NOT NULL,
    from_us INTEGER NOT NULL,
    -- NULL while it lasts.
    until_us INTEGER,
    reason TEXT NOT NULL CHECK (reason IN ('camera', 'disk', 'operator', 'server', 'clock')),
    PRIMARY KEY (path, from_us)
) STRICT, WITHOUT ROWID;

INSERT INTO gaps_new SELECT path, from_us, until_us, reason FROM gaps;
DROP TABLE gaps;
ALTER TABLE gaps_new RENAME TO gaps;
