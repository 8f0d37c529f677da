CREATE TABLE outrigger_snapshots (
    stream TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE outrigger_events_archive (
    sequence INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    type TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    data TEXT,
    metadata TEXT NOT NULL,
    recorded INTEGER NOT NULL,
    UNIQUE (stream, version)
) STRICT;

CREATE TABLE outrigger_personal_keys (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    secret BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX outrigger_personal_keys_by_subject ON outrigger_personal_keys (subject);

CREATE TABLE outrigger_personal_streams (
    subject TEXT NOT NULL,
    stream TEXT NOT NULL,
    PRIMARY KEY (subject, stream)
) STRICT, WITHOUT ROWID;
