-- Settings that were made through the API, laid over the configuration file.

CREATE TABLE settings (
    section TEXT COLLATE "C" NOT NULL,   -- global, pathDefaults, path
    name TEXT COLLATE "C" NOT NULL,      -- of the path's entry; empty for the others
    mode TEXT NOT NULL,                  -- over, whole, gone: what becomes of the file's entry
    sealed BYTEA NOT NULL,               -- the settings, encrypted: they hold passwords of cameras
    PRIMARY KEY (section, name)
);
