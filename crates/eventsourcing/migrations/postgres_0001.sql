CREATE TABLE outrigger_events (
    xact BIGINT NOT NULL,
    sequence BIGINT GENERATED ALWAYS AS IDENTITY,
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
CREATE TABLE outrigger_event_offset (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    xacts BIGINT NOT NULL
);
INSERT INTO outrigger_event_offset (only_row, xacts) VALUES (1, 0);
CREATE TABLE outrigger_projections (
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    state TEXT NOT NULL,
    position TEXT NOT NULL,
    paused BIGINT NOT NULL,
    tables TEXT NOT NULL,
    failures BIGINT NOT NULL,
    error TEXT,
    updated BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);
