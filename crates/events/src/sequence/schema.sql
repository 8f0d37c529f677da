-- The numbers of events, by which those who receive them see that none is missing. All times are in milliseconds
-- since 1970.

-- What this service has sent.
CREATE TABLE outrigger_sequences (
    source  TEXT   NOT NULL,
    key     TEXT   NOT NULL,
    type    TEXT   NOT NULL,
    last    BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (source, key, type)
);
CREATE INDEX outrigger_sequences_by_time ON outrigger_sequences (used_at);

-- What its groups have received.
CREATE TABLE outrigger_received (
    consumer_group TEXT   NOT NULL,
    source         TEXT   NOT NULL,
    key            TEXT   NOT NULL,
    type           TEXT   NOT NULL,
    last           BIGINT NOT NULL,
    seen_at        BIGINT NOT NULL,
    PRIMARY KEY (consumer_group, source, key, type)
);
CREATE INDEX outrigger_received_by_time ON outrigger_received (seen_at);

-- What they have not received: `first` to `last`.
CREATE TABLE outrigger_gaps (
    consumer_group TEXT   NOT NULL,
    source         TEXT   NOT NULL,
    key            TEXT   NOT NULL,
    type           TEXT   NOT NULL,
    first          BIGINT NOT NULL,
    last           BIGINT NOT NULL,
    found_at       BIGINT NOT NULL,
    PRIMARY KEY (consumer_group, source, key, type, first)
);
CREATE INDEX outrigger_gaps_by_time ON outrigger_gaps (found_at);
