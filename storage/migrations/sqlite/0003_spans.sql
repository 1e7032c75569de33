-- A week of one-minute files is 10,080 rows of a path and 2.5 million of all: what is asked of many of them is answered from
-- this index alone, without reading the rows (each holds its GOPs).
CREATE INDEX files_of_path ON files (path, start_us, run, number, is_cut, duration_us, bytes);
DROP INDEX files_by_path;
