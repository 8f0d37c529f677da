//! The statements of the registry: all that is known of its table.

use data::{Database, Migration, params};
use discovery::Instance;

use crate::{Error, Result};

const PART: &str = "hub";

/// Heartbeats are not kept: after a restart, every instance is expected for a whole TTL.
const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "registry",
    "CREATE TABLE instances (id TEXT PRIMARY KEY, instance TEXT NOT NULL)",
)];

#[derive(Clone)]
pub(crate) struct Store(Database);

impl Store {
    pub(crate) async fn open(db: Database) -> Result<Self> {
        db.migrate_part(PART, MIGRATIONS).await?;
        Ok(Self(db))
    }

    /// Every instance. Their number is bounded by what was taken.
    pub(crate) async fn all(&self) -> Result<Vec<Instance>> {
        let every = "SELECT id, instance FROM instances ORDER BY id";
        let rows = self.0.query(every, params![]).await?;
        rows.iter()
            .map(|row| {
                let json: String = row.get("instance")?;
                let id = row.get("id")?;
                serde_json::from_str(&json).map_err(|source| Error::Unreadable { id, source })
            })
            .collect()
    }

    pub(crate) async fn put(&self, instance: &Instance) -> Result<()> {
        let json = serde_json::to_string(instance).map_err(|source| Error::Unreadable {
            id: instance.id.clone(),
            source,
        })?;
        let put = "INSERT INTO instances (id, instance) VALUES ($1, $2)
                   ON CONFLICT (id) DO UPDATE SET instance = excluded.instance";
        let mut tx = self.0.begin().await?;
        tx.execute(put, params![instance.id.as_str(), json]).await?;
        Ok(tx.commit().await?)
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<()> {
        let mut tx = self.0.begin().await?;
        tx.execute("DELETE FROM instances WHERE id = $1", params![id])
            .await?;
        Ok(tx.commit().await?)
    }

    pub(crate) async fn ping(&self) -> Result<()> {
        Ok(self.0.ping().await?)
    }
}
