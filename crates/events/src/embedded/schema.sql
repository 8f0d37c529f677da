-- What was published, in order. An entry stays while a delivery refers to it, and then as long as retention says.
CREATE TABLE log (
    sequence INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL UNIQUE,
    type     TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    time     INTEGER NOT NULL, -- milliseconds since 1970
    event    BLOB    NOT NULL  -- structured JSON
);
CREATE INDEX log_by_time ON log (time);

CREATE TABLE consumer_groups (
    id    INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: a forgotten group may still have members
    name  TEXT NOT NULL UNIQUE,
    types TEXT NOT NULL        -- with spaces between them
);

-- What each group has still to handle: a row goes when it is acknowledged. Of each key at most one row is not
-- `held`, the earliest: that is the order by key.
CREATE TABLE deliveries (
    group_id INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    state    INTEGER NOT NULL, -- 0 ready, 1 held, 2 waits for its retry, 3 dead letter
    attempts INTEGER NOT NULL DEFAULT 0,
    since    INTEGER,          -- of a retry: when it is due; of a dead letter: when it died; milliseconds since 1970
    error    TEXT,
    PRIMARY KEY (group_id, sequence)
) WITHOUT ROWID;
CREATE INDEX deliveries_by_key ON deliveries (group_id, key, sequence);
CREATE INDEX deliveries_ready ON deliveries (group_id, sequence) WHERE state = 0;
CREATE INDEX deliveries_dead ON deliveries (group_id, sequence) WHERE state = 3;
