//! The steps of a schema, each applied once and never changed after.

use sha2::{Digest, Sha256};

use crate::{Database, Engine, Error, Result, Row, Transaction, params};

/// One step. Numbers rise; they need not be dense.
///
/// ```
/// # use outrigger_data as data;
/// use data::Migration;
///
/// const MIGRATIONS: &[Migration] = &[
///     Migration::new(1, "stock", "CREATE TABLE stock (product TEXT PRIMARY KEY, photo BYTEA)"),
///     Migration::new(2, "log", "CREATE TABLE log (line INTEGER PRIMARY KEY AUTOINCREMENT)")
///         .postgres("CREATE TABLE log (line BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY)"),
/// ];
/// ```
///
/// One text for all engines is the common case. `TEXT`, `BIGINT`, `BOOLEAN`, `DOUBLE PRECISION` and
/// `BYTEA` mean the same to each of them (in SQLite, outside `STRICT` tables).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its number among the steps of the same part.
    pub version: u32,
    /// A few words for people.
    pub name: &'static str,
    sql: &'static str,
    postgres: Option<&'static str>,
}

impl Migration {
    /// A step of one or more statements. They run in one transaction, so none of them may begin or
    /// end one.
    pub const fn new(version: u32, name: &'static str, sql: &'static str) -> Self {
        Self {
            version,
            name,
            sql,
            postgres: None,
        }
    }

    /// The same step with a text of its own for PostgreSQL.
    #[must_use]
    pub const fn postgres(self, sql: &'static str) -> Self {
        Self {
            postgres: Some(sql),
            ..self
        }
    }

    /// Its text for an engine.
    pub const fn sql(&self, engine: Engine) -> &'static str {
        match (engine, self.postgres) {
            (Engine::Postgres, Some(own)) => own,
            _ => self.sql,
        }
    }

    fn checksum(&self, engine: Engine) -> String {
        let digest = Sha256::digest(self.sql(engine));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The part of a schema that belongs to the service itself.
const SERVICE: &str = "service";

impl Database {
    /// Brings the service's own tables up to the last of `migrations`. Each step is one transaction; the first ones, on a
    /// database that has none of them, are one together.
    ///
    /// A database that is ahead (a newer version of the service has been here) is left as it is, so
    /// that old and new can run side by side during a rolling update.
    ///
    /// # Errors
    /// [`Error::MigrationChanged`], [`Error::MigrationOrder`], [`Error::MigrationDeferred`],
    /// [`Error::Migration`]. What was committed before the failed step stays.
    pub async fn migrate(&self, migrations: &[Migration]) -> Result<()> {
        self.migrate_part(SERVICE, migrations).await
    }

    /// The same for the tables of a library in this database: each part counts its own versions.
    ///
    /// # Errors
    /// As [`migrate`](Self::migrate).
    pub async fn migrate_part(&self, part: &str, migrations: &[Migration]) -> Result<()> {
        let applied = applied(self.query(APPLIED, params![part]).await?)?;
        let pending = pending(self.engine(), part, migrations, &applied)?;
        let together = if applied.is_empty() { usize::MAX } else { 1 };
        for migrations in pending.chunks(together) {
            self.transaction(async |mut tx| -> Result<()> {
                for migration in migrations {
                    apply(&mut tx, part, migration).await?;
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

const APPLIED: &str =
    "SELECT version, name, checksum FROM outrigger_migrations WHERE part = $1 ORDER BY version";

struct Applied {
    version: u32,
    name: String,
    checksum: String,
}

fn applied(rows: Vec<Row>) -> Result<Vec<Applied>> {
    rows.iter()
        .map(|row| {
            Ok(Applied {
                version: row.get(0)?,
                name: row.get(1)?,
                checksum: row.get(2)?,
            })
        })
        .collect()
}

/// Those that are to be applied, once it is certain that the others are the ones that were.
fn pending<'m>(
    engine: Engine,
    part: &str,
    migrations: &'m [Migration],
    applied: &[Applied],
) -> Result<&'m [Migration]> {
    let out_of_order = |version, name: &str, problem| Error::MigrationOrder {
        part: part.to_owned(),
        version,
        name: name.to_owned(),
        problem,
    };
    if let Some([_, late]) = migrations
        .array_windows()
        .find(|[one, next]| one.version >= next.version)
    {
        return Err(out_of_order(
            late.version,
            late.name,
            "must have a higher number than the one before it",
        ));
    }
    let mut rest = migrations;
    for done in applied {
        let Some((next, following)) = rest.split_first() else {
            tracing::warn!(
                part,
                version = done.version,
                name = done.name,
                "the schema is newer than this program"
            );
            break;
        };
        if done.version > next.version {
            return Err(out_of_order(
                next.version,
                next.name,
                "comes before one that is applied: give it a higher number",
            ));
        }
        if done.version < next.version {
            return Err(out_of_order(
                done.version,
                &done.name,
                "is applied but no longer in the list: restore it",
            ));
        }
        if done.checksum != next.checksum(engine) {
            return Err(Error::MigrationChanged {
                part: part.to_owned(),
                version: done.version,
                name: done.name.clone(),
            });
        }
        rest = following;
    }
    Ok(rest)
}

async fn apply(tx: &mut Transaction, part: &str, migration: &Migration) -> Result<()> {
    let Migration { version, name, .. } = *migration;
    let (sql, checksum) = (migration.sql(tx.engine()), migration.checksum(tx.engine()));
    // Another process may have been here since we looked.
    let mark = "INSERT INTO outrigger_migrations (part, version, name, checksum, applied_at)
                VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let marked = tx
        .execute(mark, params![part, version, name, checksum, env::now()])
        .await?;
    if marked == 0 {
        return Ok(());
    }
    if defers(sql) {
        return Err(Error::MigrationDeferred {
            part: part.to_owned(),
            version,
            name: name.to_owned(),
        });
    }
    tracing::info!(part, version, name, "applying a migration");
    tx.batch(sql).await.map_err(|source| Error::Migration {
        part: part.to_owned(),
        version,
        name: name.to_owned(),
        source: Box::new(source),
    })
}

/// Whether a constraint in it waits for `COMMIT`.
fn defers(sql: &str) -> bool {
    let words: Vec<&str> = sql
        .split(|letter: char| !letter.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .collect();
    words.array_windows().any(|[one, next]| {
        one.eq_ignore_ascii_case("initially") && next.eq_ignore_ascii_case("deferred")
    })
}
