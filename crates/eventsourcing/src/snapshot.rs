//! Snapshots: a shortcut for loading aggregates with long streams, and never a source of truth.
//!
//! A snapshot is used only if it is in the schema version that the code writes, can be read, and is of an event that the
//! stream has. Otherwise it is as if there were none, and the next load in a transaction writes a new one. So deleting
//! all of them changes nothing but speed.

use std::fmt;

use data::{Transaction, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Aggregate, Loaded, Result, Version, aggregate::stream, load::Source, personal, store::int,
};

/// How an aggregate's snapshots are made: see [`Aggregate::SNAPSHOTS`].
pub struct Snapshots<A> {
    every: Version,
    schema: u32,
    encode: fn(&A) -> serde_json::Result<String>,
    decode: fn(&str) -> serde_json::Result<A>,
}

impl<A: Serialize + DeserializeOwned> Snapshots<A> {
    /// A snapshot is written where a load in a transaction had to replay at least `every` events.
    pub const fn every(every: Version) -> Self {
        Self {
            every,
            schema: 1,
            encode: |state| serde_json::to_string(state),
            decode: |json| serde_json::from_str(json),
        }
    }

    /// The version of the state's form. Raise it whenever the state or what `apply` makes of an event changes; snapshots of
    /// other versions are not used. Default: 1.
    #[must_use]
    pub const fn schema(self, schema: u32) -> Self {
        Self { schema, ..self }
    }
}

impl<A> fmt::Debug for Snapshots<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots")
            .field("every", &self.every)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// The newest snapshot of the `A` with this id that can be used.
pub(crate) async fn read<A: Aggregate>(
    source: &mut impl Source,
    id: &str,
) -> Result<Option<Loaded<A>>> {
    let Some(snapshots) = A::SNAPSHOTS else {
        return Ok(None);
    };
    let stream = stream::<A>(id);
    // A snapshot of an event that is not there (the events were restored from a backup) is none.
    let find = "SELECT s.version, s.state FROM outrigger_snapshots s
                JOIN outrigger_events e ON e.stream = s.stream AND e.version = s.version
                WHERE s.stream = $1 AND s.schema_version = $2";
    let rows = source
        .rows(find, params![stream.as_str(), snapshots.schema])
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let mut state: String = row.get("state")?;
    personal::open_all(source, vec![&mut state]).await?;
    match (snapshots.decode)(&state) {
        Ok(state) => Ok(Some(Loaded {
            state,
            version: row.get("version")?,
        })),
        Err(error) => {
            tracing::warn!(stream, %error, "a snapshot cannot be read, and is not used");
            Ok(None)
        }
    }
}

/// A snapshot to be written.
pub(crate) struct Fresh {
    stream: String,
    version: Version,
    schema: u32,
    state: String,
}

/// A snapshot of `loaded`, if it is worth it: `replayed` events were read beside the last one.
pub(crate) fn fresh<A: Aggregate>(
    id: &str,
    loaded: &Loaded<A>,
    replayed: Version,
) -> Option<Fresh> {
    let snapshots = A::SNAPSHOTS.filter(|snapshots| replayed >= snapshots.every.max(1))?;
    let stream = stream::<A>(id);
    match (snapshots.encode)(&loaded.state) {
        Ok(state) => Some(Fresh {
            stream,
            version: loaded.version,
            schema: snapshots.schema,
            state,
        }),
        Err(error) => {
            tracing::warn!(stream, %error, "a snapshot cannot be written");
            None
        }
    }
}

/// Writes it in place of the one before.
pub(crate) async fn write(tx: &mut Transaction, mut fresh: Fresh) -> Result<()> {
    personal::hold(tx, &fresh.stream).await?;
    personal::seal(tx, &fresh.stream, &mut fresh.state).await?;
    let replace = "INSERT INTO outrigger_snapshots (stream, version, schema_version, state)
                   VALUES ($1, $2, $3, $4)
                   ON CONFLICT (stream) DO UPDATE SET version = excluded.version,
                       schema_version = excluded.schema_version, state = excluded.state";
    let row = params![fresh.stream, int(fresh.version), fresh.schema, fresh.state];
    tx.execute(replace, row).await?;
    Ok(())
}
