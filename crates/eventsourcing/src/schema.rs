//! The tables of the event store.

use data::{Database, Migration};

use crate::Result;

const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "event store",
    // The head is a row and no sequence of the engine: whoever appends holds it until the commit, so positions become
    // visible in their order, and a rollback leaves no gap.
    "
        CREATE TABLE outrigger_events (
            position BIGINT PRIMARY KEY,
            stream TEXT NOT NULL,
            version BIGINT NOT NULL,
            type TEXT NOT NULL,
            data TEXT,
            metadata TEXT NOT NULL,
            recorded BIGINT NOT NULL,
            UNIQUE (stream, version)
        );
        CREATE TABLE outrigger_event_head (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            position BIGINT NOT NULL
        );
        INSERT INTO outrigger_event_head (only, position) VALUES (1, 0);
        CREATE TABLE outrigger_projections (
            name TEXT PRIMARY KEY,
            position BIGINT NOT NULL,
            failures BIGINT NOT NULL,
            error TEXT,
            updated BIGINT NOT NULL
        );",
)
// There, `only` is a reserved word.
.postgres(
    "
        CREATE TABLE outrigger_events (
            position BIGINT PRIMARY KEY,
            stream TEXT NOT NULL,
            version BIGINT NOT NULL,
            type TEXT NOT NULL,
            data TEXT,
            metadata TEXT NOT NULL,
            recorded BIGINT NOT NULL,
            UNIQUE (stream, version)
        );
        CREATE TABLE outrigger_event_head (
            \"only\" INTEGER PRIMARY KEY CHECK (\"only\" = 1),
            position BIGINT NOT NULL
        );
        INSERT INTO outrigger_event_head (\"only\", position) VALUES (1, 0);
        CREATE TABLE outrigger_projections (
            name TEXT PRIMARY KEY,
            position BIGINT NOT NULL,
            failures BIGINT NOT NULL,
            error TEXT,
            updated BIGINT NOT NULL
        );",
)];

/// Makes the tables of the event store in `db`, where they are not there yet.
///
/// # Errors
/// [`Error::Database`](crate::Error::Database).
pub async fn install(db: &Database) -> Result<()> {
    Ok(db.migrate_part("eventsourcing", MIGRATIONS).await?)
}
