-- No AUTOINCREMENT: the last event of all is never removed, so its number is not given again.
CREATE TABLE outrigger_events_2 (
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
INSERT INTO outrigger_events_2
    SELECT position, stream, version, type, 1, data, metadata, recorded FROM outrigger_events;
DROP TABLE outrigger_events;
DROP TABLE outrigger_event_head;
ALTER TABLE outrigger_events_2 RENAME TO outrigger_events;
CREATE TABLE outrigger_projections_2 (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    position TEXT NOT NULL,
    paused INTEGER NOT NULL,
    tables TEXT NOT NULL,
    failures INTEGER NOT NULL,
    error TEXT,
    updated INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;
INSERT INTO outrigger_projections_2
    SELECT name, 1, 'serving', CAST(position AS TEXT), 0, '[]', failures, error, updated
    FROM outrigger_projections;
DROP TABLE outrigger_projections;
ALTER TABLE outrigger_projections_2 RENAME TO outrigger_projections;
