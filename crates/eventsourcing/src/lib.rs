//! Event store, aggregates and projections, in the database of a service.
//!
//! What is guaranteed (G6 streams), with everything else that the transaction writes (G1 atomic):
//!
//! - Of any number of [appends](Append::append) that expect the same version of a stream, one succeeds.
//! - The versions of a stream have no gaps: 1, 2, 3, …
//! - Events become visible in the order of their [positions](Position), the same for all readers. So who
//!   [reads on](Store::read_all) from the last position that it saw never skips an event, whatever order concurrent
//!   transactions commit in.
//! - A [projection] takes each event once: its read model and its place commit together.
//! - An event of a type or schema version that the code does not know is an error that names both. It is never skipped.
//!
//! ```
//! # use outrigger_eventsourcing as eventsourcing;
//! use data::Database;
//! use eventsourcing::{Aggregate, Append, Expected, Store};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default)]
//! struct Account { balance: i64 }
//!
//! #[derive(Serialize, Deserialize)]
//! #[serde(tag = "type", content = "data")]
//! enum AccountEvent { Opened, Deposited { amount: i64 } }
//!
//! impl Aggregate for Account {
//!     const KIND: &'static str = "account";
//!     type Event = AccountEvent;
//!     fn apply(&mut self, event: &AccountEvent) {
//!         match event {
//!             AccountEvent::Opened => self.balance = 0,
//!             AccountEvent::Deposited { amount } => self.balance += amount,
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let url = format!("sqlite:{}", folder.path().join("bank.sqlite").display());
//! let db = Database::open(&url).await?;
//! eventsourcing::install(&db).await?;
//!
//! let mut tx = db.begin().await?;
//! let opened = tx.append::<Account>("7", Expected::NoStream, &[AccountEvent::Opened]).await?;
//! tx.append::<Account>("7", Expected::Version(opened), &[AccountEvent::Deposited { amount: 5 }]).await?;
//! tx.commit().await?;
//!
//! let account = Store::new(db).load::<Account>("7").await?;
//! assert_eq!((account.state.balance, account.version), (5, 2));
//! # Ok(()) }
//! ```
//!
//! Start reading at [`append`](mod@append) and [`store`], the two directions.
//!
//! | module | subject |
//! |---|---|
//! | [`aggregate`] | what its events say together |
//! | [`append`](mod@append) | appending, one event or a batch |
//! | [`store`] | reading one stream, or all events; appending alone |
//! | `queue.rs` | appends that are committed together |
//! | `load.rs` | replaying a stream |
//! | [`subscription`] | following all events |
//! | [`snapshot`] | shortcuts for long streams |
//! | [`archive`] | streams that are over |
//! | [`personal`] | what is personal, and forgetting it |
//! | [`position`] | the place of an event among all |
//! | [`recorded`] | an event as it is stored |
//! | [`upcast`] | events of earlier forms |
//! | [`projection`] | read models that follow the store |
//! | `follow.rs` | waiting for events |
//! | `sqlite.rs`, `postgres.rs` | tables and statements of the two engines |

pub mod aggregate;
pub mod append;
pub mod archive;
mod error;
mod follow;
mod load;
pub mod personal;
pub mod position;
mod postgres;
pub mod projection;
mod queue;
pub mod recorded;
mod schema;
pub mod snapshot;
mod sqlite;
pub mod store;
pub mod subscription;
pub mod upcast;

pub use aggregate::{Aggregate, Loaded};
pub use append::{Append, Batch, Expected, Version};
pub use error::{Error, Result};
pub use personal::Personal;
pub use position::Position;
pub use projection::Projection;
pub use recorded::{Metadata, Recorded};
pub use schema::install;
pub use snapshot::Snapshots;
pub use store::Store;
pub use subscription::Subscription;
pub use upcast::Upcaster;
