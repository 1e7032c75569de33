-- A week of recordings in a catalogue on PostgreSQL: the rows of fill_catalogue.py.
--
--   psql -v cameras=25 -f fill_postgres.sql
--
-- Vacuumed as the server itself does it in the course of a week: what is asked of many rows is answered from an index alone
-- only where that knows which rows everybody sees.
\set minutes 10080
\set minute_us 60000000

-- Sums are made at the end, and not by triggers row by row: within one transaction that leaves a version of a sum for each row.
SET session_replication_role = replica;

INSERT INTO files (path, name, state, run, number, start_us, duration_us, first_offset, bytes, timescale, first_ticks,
    duration_ticks, gops)
SELECT 'cam_' || camera, '/nowhere/cam_' || camera || '/' || start_us || '.mp4', 'closed',
    begin_us + minute / 1440 * 1440::bigint * :minute_us + camera * 1000, minute % 1440, start_us, :minute_us, 1000, 30000000,
    90000, minute % 1440 * 60::bigint * 90000, 60 * 90000, decode(repeat('8fc21ea1fe0a00', 60), 'hex')
FROM (SELECT (extract(epoch FROM now()) * 1e6)::bigint - :minutes::bigint * :minute_us AS begin_us) AS week,
    generate_series(0, :minutes - 1) AS minute,
    generate_series(1, :cameras) AS camera,
    LATERAL (SELECT begin_us + minute::bigint * :minute_us + camera * 1000 AS start_us) AS file
-- A gap of a minute between days.
WHERE minute = 0 OR minute % 1440 > 0
ORDER BY minute, camera;

INSERT INTO usage SELECT path, COUNT(*), SUM(bytes) FROM files GROUP BY path;
INSERT INTO hour_sums SELECT start_us / 3600000000, path, COUNT(*), SUM(bytes) FROM files GROUP BY 1, 2;
INSERT INTO objects (object_file, object_state, object_bytes) SELECT id, 'queued', bytes FROM files ORDER BY id;
UPDATE object_sums SET files = counted.files, bytes = counted.bytes
FROM (SELECT COUNT(*) AS files, SUM(object_bytes) AS bytes FROM objects) AS counted WHERE place = 'queue';

VACUUM ANALYZE;
