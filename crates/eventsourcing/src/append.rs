//! Appending to streams.

use std::{collections::BTreeMap, fmt, future::Future, mem, sync::Arc};

use data::{Engine, Transaction, Value};

use crate::{
    Aggregate, Error, Loaded, Metadata, Result,
    aggregate::stream,
    archive::{self, ARCHIVED},
    load::load,
    personal, postgres,
    recorded::{Encoded, FORGOTTEN, encode},
    snapshot, sqlite,
    store::{CHANNEL, int},
};

/// How many events a stream has, and so the place of the last of them: 0 where there is none.
pub type Version = u64;

/// What whoever appends has seen of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It has no events yet. The same as `Version(0)`.
    NoStream,
    /// It has this version.
    Version(Version),
    /// It does not matter.
    Any,
}

impl Expected {
    fn fits(self, actual: Version) -> bool {
        match self {
            Self::NoStream => actual == 0,
            Self::Version(version) => actual == version,
            Self::Any => true,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStream => f.write_str("a new stream"),
            Self::Version(version) => write!(f, "{version}"),
            Self::Any => f.write_str("any version"),
        }
    }
}

/// Event sourcing in a [`Transaction`].
pub trait Append {
    /// Appends to the stream of the `A` with this id, when the transaction commits; the version that it has then.
    ///
    /// On PostgreSQL a version may be taken by a transaction that runs at the same time. That shows as a retryable
    /// [`Error::Database`] (here or at the commit), and as a [`Error::VersionConflict`] when the transaction is run
    /// again, as [`Database::transaction`](data::Database::transaction) does.
    ///
    /// # Errors
    /// [`Error::VersionConflict`], after which nothing was written and the transaction may go on; [`Error::Untagged`],
    /// [`Error::Encode`], [`Error::Database`].
    fn append<A: Aggregate>(
        &mut self,
        id: &str,
        expected: Expected,
        events: &[A::Event],
    ) -> impl Future<Output = Result<Version>> + Send;

    /// Appends all of `batch` or, when an expectation is wrong, nothing of it; the versions that its streams have then,
    /// one for each [`Batch::append`].
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn append_batch(&mut self, batch: &Batch) -> impl Future<Output = Result<Vec<Version>>> + Send;

    /// Reads the `A` with this id, what this transaction has appended included.
    ///
    /// # Errors
    /// [`Error::Unreadable`] and the others that say what cannot be read, [`Error::Database`].
    fn load<A: Aggregate>(&mut self, id: &str) -> impl Future<Output = Result<Loaded<A>>> + Send;

    /// Closes the stream of the `A` with this id and moves its events to the [archive], when the transaction
    /// commits. Whoever loads it or appends to it then is told so; [`Store::archived`](crate::Store::archived) reads it.
    /// Those who read all events see them where they were, and one more that [says so](crate::Recorded::is_archived).
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn archive<A: Aggregate>(
        &mut self,
        id: &str,
        expected: Expected,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Makes what was stored about the person `subject` as [`Personal`](crate::Personal) unreadable for ever, when the
    /// transaction commits. Read models are told by an event ([`Recorded::forgotten`](crate::Recorded::forgotten)).
    /// [`personal`] says what it does not reach.
    ///
    /// # Errors
    /// [`Error::Database`].
    fn forget(&mut self, subject: &str) -> impl Future<Output = Result<()>> + Send;
}

impl Append for Transaction {
    async fn append<A: Aggregate>(
        &mut self,
        id: &str,
        expected: Expected,
        events: &[A::Event],
    ) -> Result<Version> {
        let mut batch = Batch::new();
        batch.append::<A>(id, expected, events)?;
        let versions = self.append_batch(&batch).await?;
        Ok(versions.into_iter().sum()) // there is one
    }

    async fn append_batch(&mut self, batch: &Batch) -> Result<Vec<Version>> {
        let mut heads = heads(self, [batch]).await?;
        let (mut rows, versions) = batch.number(&mut heads, &Metadata::stored()?)?;
        seal(self, &mut rows).await?;
        write(self, rows).await?;
        Ok(versions)
    }

    async fn load<A: Aggregate>(&mut self, id: &str) -> Result<Loaded<A>> {
        let (loaded, replayed) = load(self, id).await?;
        if let Some(fresh) = snapshot::fresh(id, &loaded, replayed) {
            snapshot::write(self, fresh).await?;
        }
        Ok(loaded)
    }

    async fn archive<A: Aggregate>(&mut self, id: &str, expected: Expected) -> Result<()> {
        let mut batch = Batch::new();
        batch.append::<A>(id, expected, &[])?;
        let versions = self.append_batch(&batch).await?;
        let last = versions.into_iter().sum(); // there is one
        if last == 0 {
            return Ok(()); // there is nothing to archive
        }
        let stream = stream::<A>(id);
        archive::set_aside(self, &stream, last).await?;
        write(self, vec![Row::own(stream, last + 1, ARCHIVED)?]).await
    }

    async fn forget(&mut self, subject: &str) -> Result<()> {
        personal::forget(self, subject).await?;
        let stream = format!("{FORGOTTEN}/{subject}");
        let ends = ends(self, &[&stream]).await?;
        let last = ends.get(&stream).map_or(0, |end| end.version);
        write(self, vec![Row::own(stream, last + 1, FORGOTTEN)?]).await
    }
}

/// Encrypts what is personal in `rows`.
pub(crate) async fn seal(tx: &mut Transaction, rows: &mut [Row]) -> Result<()> {
    for row in rows {
        if let Some(data) = &mut row.data {
            personal::seal(tx, &row.stream, data).await?;
        }
    }
    Ok(())
}

/// Writes events that have their versions.
pub(crate) async fn write(tx: &mut Transaction, rows: Vec<Row>) -> Result<()> {
    let events = rows.len() as u64;
    if events == 0 {
        return Ok(());
    }
    let written = match tx.engine() {
        Engine::Sqlite => sqlite::insert(tx, rows).await?,
        _ => postgres::insert(tx, rows).await?,
    };
    if written < events {
        return Err(Error::Overtaken);
    }
    tx.notify(CHANNEL);
    Ok(())
}

/// Writes events that have their versions, and some of which nobody has looked where their streams end. Where one of them does
/// not fit, this or the commit of `tx` fails, and nothing may be kept.
pub(crate) async fn write_unseen(tx: &mut Transaction, rows: Vec<Row>) -> Result<()> {
    if tx.engine() == Engine::Postgres && !rows.is_empty() {
        postgres::insert_at_commit(tx, rows);
        tx.notify(CHANNEL);
        return Ok(());
    }
    write(tx, rows).await
}

/// Events for several streams, which are appended together.
///
/// ```
/// # use outrigger_eventsourcing as eventsourcing;
/// # use eventsourcing::{Aggregate, Append, Batch, Expected};
/// # #[derive(Default)] struct Account;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # #[serde(tag = "type", content = "data")]
/// # enum AccountEvent { Withdrawn(i64), Deposited(i64) }
/// # impl Aggregate for Account {
/// #     const KIND: &'static str = "account";
/// #     type Event = AccountEvent;
/// #     fn apply(&mut self, _: &AccountEvent) {}
/// # }
/// async fn transfer(tx: &mut data::Transaction, seen: u64) -> eventsourcing::Result<()> {
///     let mut batch = Batch::new();
///     batch
///         .append::<Account>("7", Expected::Version(seen), &[AccountEvent::Withdrawn(5)])?
///         .append::<Account>("8", Expected::Any, &[AccountEvent::Deposited(5)])?;
///     tx.append_batch(&batch).await?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    stream: String,
    expected: Expected,
    events: Vec<Encoded>,
}

impl Batch {
    /// With nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds events for the stream of the `A` with this id. What is added for the same stream later expects the version
    /// that it has after these.
    ///
    /// # Errors
    /// [`Error::Untagged`], [`Error::Encode`].
    pub fn append<A: Aggregate>(
        &mut self,
        id: &str,
        expected: Expected,
        events: &[A::Event],
    ) -> Result<&mut Self> {
        let stream = stream::<A>(id);
        let encoded = events.iter().map(|event| encode::<A>(&stream, event));
        let events = encoded.collect::<Result<_>>()?;
        self.parts.push(Part {
            stream,
            expected,
            events,
        });
        Ok(self)
    }

    /// The streams that it appends to.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.stream.as_str())
    }

    /// Adds the ends that its expectations state, for streams that nothing is stated of yet; `false` when one says nothing, or
    /// would not be put to the test because nothing is appended.
    pub(crate) fn state(&self, heads: &mut Heads) -> bool {
        self.parts.iter().all(|part| {
            if heads.contains_key(&part.stream) {
                return true;
            }
            let version = match part.expected {
                Expected::NoStream => 0,
                Expected::Version(version) => version,
                Expected::Any => return false,
            };
            let head = Head {
                version,
                closed: false,
                unseen: true,
            };
            heads.insert(part.stream.clone(), head);
            !part.events.is_empty()
        })
    }

    /// How many events are in it.
    pub(crate) fn events(&self) -> usize {
        self.parts.iter().map(|part| part.events.len()).sum()
    }

    /// How many bytes its events have.
    pub(crate) fn bytes(&self) -> usize {
        let events = self.parts.iter().flat_map(|part| &part.events);
        let data = events.filter_map(|event| event.data.as_ref());
        data.map(String::len).sum()
    }

    /// Gives each event its version, if all expectations are right; and the version after each part. `heads` are then
    /// those after this batch, and otherwise as they were.
    pub(crate) fn number(
        &self,
        heads: &mut Heads,
        metadata: &Arc<str>,
    ) -> Result<(Vec<Row>, Vec<Version>)> {
        let mut last: BTreeMap<&str, Head> = BTreeMap::new();
        let mut rows = Vec::new();
        let mut versions = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let stream = part.stream.as_str();
            let known = || heads.get(stream).copied().unwrap_or_default();
            let head = last.entry(stream).or_insert_with(known);
            if head.closed {
                return Err(Error::Archived {
                    stream: part.stream.clone(),
                });
            }
            if !part.expected.fits(head.version) {
                return Err(Error::VersionConflict {
                    stream: part.stream.clone(),
                    expected: part.expected,
                    actual: head.version,
                });
            }
            for event in &part.events {
                head.version += 1;
                let unseen = mem::take(&mut head.unseen);
                rows.push(Row {
                    stream: part.stream.clone(),
                    version: head.version,
                    name: event.name.clone(),
                    schema: event.schema,
                    data: event.data.clone(),
                    metadata: Arc::clone(metadata),
                    unseen,
                });
            }
            versions.push(head.version);
        }
        for (stream, head) in last {
            match heads.get_mut(stream) {
                Some(known) => *known = head,
                None => _ = heads.insert(stream.to_owned(), head),
            }
        }
        Ok((rows, versions))
    }
}

/// An event on its way into the table.
pub(crate) struct Row {
    pub(crate) stream: String,
    pub(crate) version: Version,
    pub(crate) name: String,
    pub(crate) schema: u32,
    pub(crate) data: Option<String>,
    pub(crate) metadata: Arc<str>,
    /// Nobody has looked whether the stream ends right before it: it is written only if it does.
    pub(crate) unseen: bool,
}

impl Row {
    /// Stream, version, type, version of its schema, data, metadata; and whether it is unseen.
    pub(crate) fn values(self) -> ([Value; 6], bool) {
        let values = [
            self.stream.into(),
            int(self.version).into(),
            self.name.into(),
            self.schema.into(),
            self.data.into(),
            (*self.metadata).into(),
        ];
        (values, self.unseen)
    }

    /// One of the store's own events.
    fn own(stream: String, version: Version, name: &str) -> Result<Self> {
        Ok(Self {
            stream,
            version,
            name: name.to_owned(),
            schema: 1,
            data: None,
            metadata: Metadata::stored()?,
            unseen: false,
        })
    }
}

/// Where a stream ends.
#[derive(Clone, Copy, Default)]
pub(crate) struct Head {
    version: Version,
    closed: bool,
    /// Somebody has said so, and nobody has looked.
    unseen: bool,
}

/// The ends of streams by their names; those that have no events may be left out.
pub(crate) type Heads = BTreeMap<String, Head>;

/// The end of a stream, whose last event this is, and its name.
pub(crate) fn head(row: &data::Row) -> Result<(String, Head)> {
    let head = Head {
        version: row.get("version")?,
        closed: row.get::<String>("type")? == ARCHIVED,
        unseen: false,
    };
    Ok((row.get("stream")?, head))
}

/// The ends of the streams of `batches`.
pub(crate) async fn heads(
    tx: &mut Transaction,
    batches: impl IntoIterator<Item = &Batch>,
) -> Result<Heads> {
    let streams = batches.into_iter().flat_map(Batch::streams);
    let mut streams: Vec<&str> = streams.collect();
    streams.sort_unstable();
    streams.dedup();
    ends(tx, &streams).await
}

async fn ends(tx: &mut Transaction, streams: &[&str]) -> Result<Heads> {
    match tx.engine() {
        Engine::Sqlite => sqlite::heads(tx, streams).await,
        _ => postgres::heads(tx, streams).await,
    }
}
