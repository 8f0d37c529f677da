//! A database per service: transactions with group commit, migrations, outbox, inbox, idempotency
//! keys, durable timers.
//!
//! ```
//! # use outrigger_data as data;
//! use data::{Database, Migration, outbox::Message, params};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let url = format!("sqlite:{}", folder.path().join("inventory.sqlite").display());
//! let db = Database::open(&url).await?.owned_by("inventory-service");
//! db.migrate(&[Migration::new(
//!     1,
//!     "stock",
//!     "CREATE TABLE stock (product TEXT PRIMARY KEY, reserved BIGINT NOT NULL)",
//! )])
//! .await?;
//!
//! let mut tx = db.begin().await?;
//! tx.execute("INSERT INTO stock VALUES ($1, $2)", params!["anchor", 3]).await?;
//! tx.enqueue(Message {
//!     id: env::id().to_string(),
//!     topic: "stock.reserved".to_owned(),
//!     key: "anchor".to_owned(),
//!     payload: b"3".to_vec(),
//! });
//! tx.commit().await?; // resolves when durable
//!
//! let row = db.query_one("SELECT reserved FROM stock WHERE product = $1", params!["anchor"]).await?;
//! assert_eq!(row.expect("inserted above").get::<u32>("reserved")?, 3);
//! assert_eq!(db.outbox_backlog().await?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What is guaranteed
//!
//! - **Atomic** (G1). What a [`Transaction`] wrote, its outbox messages, its inbox entry and its
//!   timers with it, is kept together or not at all.
//! - **Durable before acknowledged.** [`Transaction::commit`] returns `Ok` only after the disk has
//!   confirmed (`synchronous=FULL`; on PostgreSQL, its `synchronous_commit`). Nobody outside the writer sees a change before that, and no
//!   one is woken for it.
//! - **Once** (G3). [`Transaction::receive`] is true once for a message and group, in the
//!   transaction of the effects; of a request with a key, one [`Claim`](idempotency::Claim) can
//!   decide.
//! - **In order.** The outbox is read in the order in which transactions committed (on PostgreSQL those that waited for each
//!   other), and kept until what was sent is [pruned](Database::outbox_prune).
//! - **Readers never wait** for the writer, and see committed data only.
//! - **Bounded.** At most [`QUEUE_LIMIT`] transactions wait for the writer; a further one is
//!   refused at once.
//!
//! # What is asked of a transaction
//!
//! On SQLite it holds the only writer, on PostgreSQL one of few connections. So it awaits its own statements and nothing else: no network call, no
//! channel, no second `begin` on the same database.
//!
//! # Where to read
//!
//! Start at [`database`], then [`transaction`]. Group commit is in `sqlite/writer.rs` (whose turn
//! it is) and `sqlite/session.rs` (what a group is); `postgres.rs` is the map of the other engine.
//!
//! | module | subject |
//! |---|---|
//! | [`database`] | opening, reading, beginning |
//! | [`transaction`] | writing |
//! | `owner.rs` | whose database it is |
//! | `check.rs` | whether it is set as the guarantees need it |
//! | `retry.rs`, `turn.rs` | running a transaction again after a conflict |
//! | `batches.rs` | changing many rows in many transactions |
//! | [`engine`] | which engine it is, and the dispatch |
//! | [`value`], [`row`] | what goes in and what comes out |
//! | [`migrations`] | the schema's steps |
//! | [`outbox`], [`inbox`], [`timers`] | what a service sends, has handled, and will do later |
//! | [`idempotency`] | requests that take effect once |
//! | [`leader`] | one of many processes, with fencing |
//! | [`changes`] | being woken by a commit |
//! | [`error`] | what can go wrong, classified once |

mod batches;
pub mod changes;
mod check;
mod control;
pub mod database;
pub mod engine;
pub mod error;
mod framework;
pub mod idempotency;
pub mod inbox;
pub mod leader;
pub mod migrations;
pub mod outbox;
mod owner;
mod postgres;
mod retry;
pub mod row;
mod sqlite;
pub mod timers;
pub mod transaction;
mod turn;
pub mod value;

pub use changes::Changes;
pub use check::check;
pub use database::Database;
pub use engine::Engine;
pub use error::{Error, Result};
pub use leader::Leadership;
pub use migrations::Migration;
pub use postgres::{is_provisioned, provision};
pub use row::{FromValue, Row};
pub use sqlite::{QUEUE_LIMIT, sqlite_version};
pub use timers::Timer;
pub use transaction::{Savepoint, Statement, Transaction};
pub use turn::Turn;
pub use value::Value;
