//! The framework's own tables: steps of a part of their own, applied when a database is opened.

use crate::Migration;

/// The part of the schema that is the framework's.
pub(crate) const PART: &str = "outrigger";

/// The first table of all: it says which steps are applied. It is no step itself.
pub(crate) const LEDGER: &str = "CREATE TABLE IF NOT EXISTS outrigger_migrations (
    part TEXT NOT NULL,
    version BIGINT NOT NULL,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (part, version)
);";

/// A message waits, is claimed (by the leader, before it is sent), and settled: the bus has it, or it was refused.
/// Who leads is decided by a lock now, on every engine.
macro_rules! sent_is_kept {
    ($integer:literal) => {
        concat!(
            "ALTER TABLE outrigger_outbox ADD COLUMN written_at ",
            $integer,
            " NOT NULL DEFAULT 0;
ALTER TABLE outrigger_outbox ADD COLUMN claim ",
            $integer,
            "; -- those claimed together; rises
ALTER TABLE outrigger_outbox ADD COLUMN number ",
            $integer,
            "; -- by which a receiver sees that none is missing
ALTER TABLE outrigger_outbox ADD COLUMN settled_at ",
            $integer,
            ";
ALTER TABLE outrigger_outbox ADD COLUMN refused TEXT; -- why it cannot be sent
CREATE INDEX outrigger_outbox_unsettled ON outrigger_outbox (sequence) WHERE settled_at IS NULL;
CREATE INDEX outrigger_outbox_settled ON outrigger_outbox (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX outrigger_outbox_refused ON outrigger_outbox (sequence) WHERE refused IS NOT NULL;
ALTER TABLE outrigger_leaders DROP COLUMN until;"
        )
    };
}

/// The steps. `IF NOT EXISTS`, for databases that are older than this list.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration::new(
        1,
        "outbox, inbox, timers",
        "
-- AUTOINCREMENT: a sequence that was sent and deleted is never given to another message.
CREATE TABLE IF NOT EXISTS outrigger_outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS outrigger_inbox (
    consumer TEXT NOT NULL,
    message_id TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outrigger_inbox_by_time ON outrigger_inbox (received_at);

CREATE TABLE IF NOT EXISTS outrigger_timers (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    due INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outrigger_timers_by_due ON outrigger_timers (kind, due);
",
    )
    .postgres(
        "
CREATE TABLE outrigger_outbox (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    payload BYTEA NOT NULL
);

CREATE TABLE outrigger_inbox (
    consumer TEXT NOT NULL,
    message_id TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX outrigger_inbox_by_time ON outrigger_inbox (received_at);

CREATE TABLE outrigger_timers (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    due BIGINT NOT NULL,
    payload BYTEA NOT NULL
);
CREATE INDEX outrigger_timers_by_due ON outrigger_timers (kind, due);
",
    ),
    Migration::new(
        2,
        "leaders",
        "CREATE TABLE outrigger_leaders (
             name TEXT PRIMARY KEY,
             epoch BIGINT NOT NULL,
             until BIGINT NOT NULL -- of a lease; always over where a lock of the server decides
         )",
    ),
    Migration::new(3, "idempotency keys", IDEMPOTENCY),
    Migration::new(
        4,
        "what was sent is kept, in the order in which it was",
        sent_is_kept!("INTEGER"),
    )
    .postgres(sent_is_kept!("BIGINT")),
];

const IDEMPOTENCY: &str = "
CREATE TABLE outrigger_idempotency (
    scope TEXT NOT NULL, -- who asked
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL, -- of the request
    holder TEXT NOT NULL, -- of the claim
    held_until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    decision TEXT, -- what the handler committed to
    answer_head TEXT, -- once it is answered
    answer_body BYTEA,
    PRIMARY KEY (scope, key)
);
CREATE INDEX outrigger_idempotency_by_time ON outrigger_idempotency (created_at);
";
