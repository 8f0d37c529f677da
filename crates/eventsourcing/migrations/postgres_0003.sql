-- Written by whoever makes a key or a snapshot of a person, and by whoever forgets them: so one of the two waits.
CREATE TABLE outrigger_personal_subjects (
    subject TEXT PRIMARY KEY,
    writes BIGINT NOT NULL
);
CREATE INDEX outrigger_personal_streams_by_stream ON outrigger_personal_streams (stream);
