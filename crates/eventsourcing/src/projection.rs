//! Read models that follow the store.
//!
//! A projection's read model and its place in the store commit in one transaction, so it takes each event exactly once,
//! also when two instances of a service run it. What fails is tried again, with backoff, and holds up what comes after
//! it; [`status`] tells of it meanwhile.
//!
//! # Building it anew while it serves
//!
//! A projection that names its [tables](Projection::tables) is rebuilt by raising its [version](Projection::version):
//!
//! 1. The new version makes tables of its own (`order_history_v2`) and begins at the first event. The view
//!    `order_history` shows the old tables, and where an instance of the old code still runs, it keeps them up to date.
//! 2. When it has caught up, one transaction turns the view to the new tables. Whoever reads sees one or the other.
//! 3. The old tables are dropped.
//!
//! A restart goes on where it was, in each of the three. Versions only rise: an instance of older code that starts later
//! finds that a newer version is there, and leaves its own alone. To go back, give the old code a higher version.
//!
//! ```
//! # use outrigger_eventsourcing as eventsourcing;
//! use data::{Transaction, params};
//! use env::BoxError;
//! use eventsourcing::{Projection, Recorded, projection::Table};
//! use futures::{FutureExt, future::BoxFuture};
//!
//! struct Kinds;
//!
//! impl Projection for Kinds {
//!     fn name(&self) -> &str {
//!         "kinds"
//!     }
//!     fn version(&self) -> u32 {
//!         2
//!     }
//!     fn tables(&self) -> &[Table] {
//!         const KINDS: Table = Table::new(
//!             "kinds",
//!             &["CREATE TABLE kinds_v2 (kind TEXT PRIMARY KEY, events BIGINT NOT NULL)"],
//!         );
//!         &[KINDS]
//!     }
//!     fn apply<'a>(
//!         &'a self,
//!         tx: &'a mut Transaction,
//!         event: &'a Recorded,
//!     ) -> BoxFuture<'a, Result<(), BoxError>> {
//!         async move {
//!             let count = "INSERT INTO kinds_v2 (kind, events) VALUES ($1, 1)
//!                          ON CONFLICT (kind) DO UPDATE SET events = kinds_v2.events + 1";
//!             tx.execute(count, params![event.kind()]).await?;
//!             Ok(())
//!         }
//!         .boxed()
//!     }
//! }
//! ```
//!
//! Whoever reads it writes `SELECT events FROM kinds WHERE kind = $1`, whatever the version.

mod runner;
mod slots;
mod status;

use data::Transaction;
use env::BoxError;
use futures::future::BoxFuture;

use crate::Recorded;

pub use runner::run;
pub use slots::prepare;
pub use status::{State, Status, list, pause, reset, resume, status};

/// Keeps a read model.
pub trait Projection: Send + Sync + 'static {
    /// Its name: its place in the store is kept under it.
    fn name(&self) -> &str;

    /// Raise it to have the read model built anew. Default: 1.
    fn version(&self) -> u32 {
        1
    }

    /// The tables that it keeps, and nobody else does, in this version. Default: none, and then they are the service's
    /// own, made by its migrations, and it cannot be built anew.
    fn tables(&self) -> &[Table] {
        &[]
    }

    /// Takes one event into the read model. Events come in the order of the store, those of all kinds: let those that
    /// do not matter pass ([`Recorded::read`] is `None` for other aggregates).
    ///
    /// It writes to the tables of its own version (`order_history_v2`), never through the view.
    fn apply<'a>(
        &'a self,
        tx: &'a mut Transaction,
        event: &'a Recorded,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
}

/// A table of a read model. It is named `{name}_v{version}`, and read through the view `{name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// The name that it is read by.
    pub name: &'static str,
    /// The statements that make it and its indexes, one each. Everything they make is named for the version.
    pub create: &'static [&'static str],
}

impl Table {
    /// A table that is read as `name` and made by `create`.
    pub const fn new(name: &'static str, create: &'static [&'static str]) -> Self {
        Self { name, create }
    }
}
