//! Opening a database, reading from it, beginning to write.

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::{
    Changes, Engine, Result, Row, Transaction, Value,
    engine::Backend,
    framework,
    owner::Owner,
    postgres::{self, Postgres},
    sqlite::{Place, Sqlite},
    turn::Line,
};

/// A database, of one service. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    backend: Arc<Backend>,
    owner: Owner,
    line: Line,
}

impl Database {
    /// Opens `sqlite:path/to/file.sqlite`, and makes it when it does not exist, or
    /// `postgres://user:password@host/database`, which must exist. Makes the framework's own tables
    /// (`outrigger_…`) when they do not.
    ///
    /// `?vfs=NAME` after the path keeps it in another of the file systems that are registered with
    /// SQLite: for tests, in one whose disk fails.
    ///
    /// One process should open a database once and clone it: two writers of one file wait for each
    /// other by trying, and each pool has connections of its own.
    ///
    /// Several hosts, with commas between them, are one database and its standbys: a connection goes to
    /// the one that takes writes.
    ///
    /// What a PostgreSQL URL may say after `?`, besides libpq's `application_name` and `options`:
    ///
    /// | parameter | meaning | default |
    /// |---|---|---|
    /// | `sslmode` | `disable`, `prefer`, `require`, `verify-ca`, `verify-full` | `prefer` |
    /// | `sslrootcert` | the PEM file of the authorities to believe | this machine's |
    /// | `pool_size` | connections at most, 1 to 1000 | 10 |
    /// | `connect_timeout` | seconds until a host, at one of its addresses, counts as away | 5 |
    /// | `statement_timeout` | milliseconds that a statement may take | 30000 |
    ///
    /// # Errors
    /// [`Error::UnsupportedUrl`](crate::Error::UnsupportedUrl), [`Error::Url`](crate::Error::Url),
    /// [`Error::UrlParameter`](crate::Error::UrlParameter),
    /// [`Error::OldEngine`](crate::Error::OldEngine), [`Error::Open`](crate::Error::Open),
    /// [`Error::Unavailable`](crate::Error::Unavailable); of the framework's tables, as
    /// [`migrate`](Self::migrate).
    pub async fn open(url: &str) -> Result<Self> {
        let db = if postgres::is_ours(url) {
            Self::of_server(Box::pin(Postgres::open(url)).await?)
        } else {
            let place = Place::of(url)?;
            Self::of_file(Sqlite::open(&place)?, &place)
        };
        db.migrate_part(framework::PART, framework::MIGRATIONS)
            .await?;
        Ok(db)
    }

    /// Opens an existing database to look at: for queries only. Nothing in it is made or changed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn inspect(url: &str) -> Result<Self> {
        if postgres::is_ours(url) {
            return Ok(Self::of_server(Box::pin(Postgres::inspect(url)).await?));
        }
        let place = Place::of(url)?;
        Ok(Self::of_file(Sqlite::inspect(&place)?, &place))
    }

    /// The same database, for several queries in a row. What is open for [inspection](Self::inspect) keeps no connection to a
    /// file between two queries; this does until it is dropped, which must be soon: while the file is open elsewhere,
    /// a service cannot recover from a disk that failed to sync.
    #[must_use]
    pub fn glance(&self) -> Self {
        let backend = match &*self.backend {
            Backend::Sqlite(sqlite) => sqlite.glance(),
            Backend::Postgres(_) => None,
        };
        match backend {
            Some(sqlite) => Self {
                backend: Arc::new(Backend::Sqlite(sqlite)),
                ..self.clone()
            },
            None => self.clone(),
        }
    }

    /// Whether there is a database to [`inspect`](Self::inspect), as far as that shows without opening it: `false` where
    /// the file of a `sqlite:` URL is missing, `true` for any other URL.
    pub fn exists(url: &str) -> bool {
        Place::of(url).map_or(true, |place| place.exists())
    }

    fn of_file(sqlite: Sqlite, place: &Place) -> Self {
        let file = place.path().file_stem().unwrap_or_default();
        let name = file.to_string_lossy();
        Self {
            owner: Owner::new(&name),
            backend: Arc::new(Backend::Sqlite(sqlite)),
            line: Line::default(),
        }
    }

    fn of_server(postgres: Postgres) -> Self {
        Self {
            owner: Owner::new(postgres.name()),
            backend: Arc::new(Backend::Postgres(postgres)),
            line: Line::default(),
        }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    /// What keeps it.
    pub fn engine(&self) -> Engine {
        self.backend.engine()
    }

    /// The same database, known as this service's.
    #[must_use]
    pub fn owned_by(self, service: &str) -> Self {
        Self {
            owner: self.owner.named(service),
            ..self
        }
    }

    /// The same database, of a service that publishes messages of these schemas and no others: whoever publishes
    /// asks [`Transaction::may_publish`]. Until they are named, any may be published.
    #[must_use]
    pub fn publishing(self, schemas: impl IntoIterator<Item = String>) -> Self {
        let schemas: BTreeSet<_> = schemas.into_iter().collect();
        Self {
            owner: self.owner.declaring(schemas),
            ..self
        }
    }

    /// The same database, of a service whose messages have at most `bytes`: whoever publishes asks
    /// [`Transaction::message_limit`]. By default 1 MiB less 16 KiB for what a bus adds.
    #[must_use]
    pub fn limiting_messages(self, bytes: usize) -> Self {
        Self {
            owner: self.owner.limiting(bytes),
            ..self
        }
    }

    /// The service whose database this is: the `source` of its events. Until it is named, the name
    /// of the file or of the database.
    pub fn owner(&self) -> &str {
        &self.owner.name
    }

    /// Begins a transaction, when it is this one's turn to write.
    ///
    /// It may be cancelled. A task that holds a transaction must not begin another one: it would
    /// wait for itself.
    ///
    /// # Errors
    /// [`Error::Overloaded`](crate::Error::Overloaded) at once when too many wait;
    /// [`Error::ReadOnly`](crate::Error::ReadOnly) after [`inspect`](Self::inspect); a retryable
    /// [`Error::Statement`](crate::Error::Statement) when another process holds the file for five
    /// seconds.
    pub async fn begin(&self) -> Result<Transaction> {
        env::pure::ask("Database::begin");
        let member = self.backend.begin().await?;
        Ok(Transaction::new(member, self.owner.clone()))
    }

    /// All rows of a query, of what is committed. It never waits for the writer. Bound it with
    /// `LIMIT`.
    ///
    /// # Errors
    /// [`Error::Statement`](crate::Error::Statement), of a statement that writes too;
    /// [`Error::Parameters`](crate::Error::Parameters).
    pub async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        env::pure::ask("Database::query");
        self.backend.query(sql, params).await
    }

    /// The first row of a query, as [`query`](Self::query).
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn query_one(&self, sql: &str, params: &[Value]) -> Result<Option<Row>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<()> {
        // A table, so that the file is read.
        self.query("SELECT 1 FROM outrigger_migrations LIMIT 1", &[])
            .await
            .map(drop)
    }

    /// Being woken when a transaction commits that [notified](Transaction::notify) `channel`.
    pub fn changes(&self, channel: &'static str) -> Changes {
        self.backend.changes(channel)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("owner", &self.owner())
            .finish_non_exhaustive()
    }
}
