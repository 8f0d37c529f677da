CREATE TABLE outrigger_snapshots (
    stream TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    schema_version BIGINT NOT NULL,
    state TEXT NOT NULL
);

CREATE TABLE outrigger_events_archive (
    xact BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    type TEXT NOT NULL,
    schema_version BIGINT NOT NULL,
    data TEXT,
    metadata TEXT NOT NULL,
    recorded BIGINT NOT NULL,
    PRIMARY KEY (xact, sequence),
    UNIQUE (stream, version)
);

CREATE TABLE outrigger_personal_keys (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    secret BYTEA NOT NULL
);
CREATE INDEX outrigger_personal_keys_by_subject ON outrigger_personal_keys (subject);

CREATE TABLE outrigger_personal_streams (
    subject TEXT NOT NULL,
    stream TEXT NOT NULL,
    PRIMARY KEY (subject, stream)
);
