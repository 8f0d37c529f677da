//! The tables of the event store.

use data::{Database, Engine};

use crate::{Result, postgres, sqlite};

/// The name under which the tables are migrated.
const PART: &str = "eventsourcing";

/// Makes the tables of the event store in `db`, where they are not there yet, and makes it ready for appending.
///
/// Every process calls it before it appends or reads. On PostgreSQL it also sees to it that events which were restored
/// from a dump come before those that will be appended.
///
/// # Errors
/// [`Error::Database`](crate::Error::Database).
pub async fn install(db: &Database) -> Result<()> {
    match db.engine() {
        Engine::Sqlite => Ok(db.migrate_part(PART, sqlite::MIGRATIONS).await?),
        _ => {
            db.migrate_part(PART, postgres::MIGRATIONS).await?;
            postgres::continue_order(db).await
        }
    }
}
