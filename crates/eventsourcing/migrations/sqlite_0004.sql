-- Written by whoever makes a key or a snapshot of a person, and by whoever forgets them, as on PostgreSQL.
CREATE TABLE outrigger_personal_subjects (
    subject TEXT PRIMARY KEY,
    writes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX outrigger_personal_streams_by_stream ON outrigger_personal_streams (stream);
