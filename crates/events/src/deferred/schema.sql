-- What a group could not handle yet, or not at all, and what waits behind it.
--
-- Of each key the rows with `holds = 1` are a queue, in the order of `position`. Only the first of it is ever
-- handled: it alone has a time when it is due, unless it is a dead letter. The others have neither.
CREATE TABLE outrigger_deferred (
    consumer_group TEXT   NOT NULL,
    message_id     TEXT   NOT NULL,
    type           TEXT   NOT NULL,
    key            TEXT   NOT NULL,
    position       BIGINT NOT NULL, -- rises from 1 within the queue of a key
    holds          BIGINT NOT NULL, -- 1: those of its key wait behind it; 0: they go past it, and it is in no queue
    handlers       TEXT   NOT NULL, -- which are still to run, with spaces between them; empty: all that match
    event          TEXT   NOT NULL, -- structured JSON
    original       TEXT,            -- the same as it came, once somebody has edited it
    attempts       BIGINT NOT NULL, -- how often handling it was begun since it came, or since it was replayed
    due            BIGINT,          -- when it is handled; of one that is being handled, when it is given to another
    dead_at        BIGINT,          -- when it became a dead letter
    error          TEXT,            -- why it could not be handled the last time
    deferred_at    BIGINT NOT NULL, -- all times are in milliseconds since 1970
    followed       BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (consumer_group, message_id)
);
CREATE INDEX outrigger_deferred_by_key ON outrigger_deferred (consumer_group, key, position);
CREATE INDEX outrigger_deferred_due ON outrigger_deferred (consumer_group, due) WHERE due IS NOT NULL;
CREATE INDEX outrigger_deferred_dead ON outrigger_deferred (consumer_group, message_id) WHERE dead_at IS NOT NULL;
