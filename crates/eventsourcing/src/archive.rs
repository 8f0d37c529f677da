//! Streams that are over, moved out of the way.
//!
//! The events of an archived stream lie in a table of their own, so that the one that everybody works with stays small.
//! In their place the stream has one more event, the mark of the archive. It has the next version, so whoever appends at
//! the same time loses or wins like against any other append; and it says to all who come later that the stream is
//! closed. Who reads all events sees the archived ones in their old places, as a projection that is built
//! anew must.

use data::{Transaction, params};

use crate::{Error, Result, Version, store::int};

/// The type of the event that stands in for an archived stream.
pub(crate) const ARCHIVED: &str = "$archived";

/// The columns of both tables.
const COLUMNS: &str = "sequence, stream, version, type, schema_version, data, metadata, recorded";

/// Moves the events of `stream` up to `last`.
pub(crate) async fn set_aside(tx: &mut Transaction, stream: &str, last: Version) -> Result<()> {
    let columns = match tx.engine() {
        data::Engine::Sqlite => COLUMNS.to_owned(),
        _ => format!("xact, {COLUMNS}"),
    };
    let copy = format!(
        "INSERT INTO outrigger_events_archive ({columns})
         SELECT {columns} FROM outrigger_events WHERE stream = $1 AND version <= $2"
    );
    let remove = "DELETE FROM outrigger_events WHERE stream = $1 AND version <= $2";
    let copied = tx.execute(&copy, params![stream, int(last)]).await?;
    let removed = tx.execute(remove, params![stream, int(last)]).await?;
    let shortcut = "DELETE FROM outrigger_snapshots WHERE stream = $1";
    tx.execute(shortcut, params![stream]).await?;
    if copied != last || removed != last {
        return Err(Error::Gap {
            stream: stream.to_owned(),
            expected: last,
            found: copied,
        });
    }
    Ok(())
}
