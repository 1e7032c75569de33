-- What the thumbnails beside files come to: of files that have some.

CREATE TABLE thumbnails (
    file BIGINT PRIMARY KEY REFERENCES files (id) ON DELETE CASCADE,
    path TEXT COLLATE "C" NOT NULL,
    bytes BIGINT NOT NULL
);

-- A path's usage counts them. With the last file of its path its usage is gone, whichever comes first.
CREATE FUNCTION thumbnails_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE usage SET bytes = bytes - OLD.bytes WHERE path = OLD.path;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        UPDATE usage SET bytes = bytes + NEW.bytes WHERE path = NEW.path;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER thumbnails_changed AFTER INSERT OR UPDATE OR DELETE ON thumbnails FOR EACH ROW
    EXECUTE FUNCTION thumbnails_changed();
