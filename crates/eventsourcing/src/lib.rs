//! Event store, aggregates and projections, in the database of a service.
//!
//! What is guaranteed (G6 streams), with everything else that the transaction writes (G1 atomic):
//!
//! - Of any number of [appends](Append::append) that expect the same version of a stream, one succeeds.
//! - The versions of a stream have no gaps: 1, 2, 3, …
//! - The positions of all events have no gaps either, and become visible in their order. So who
//!   [reads on](Store::read_all) from the last position that it saw never skips an event, whatever order concurrent
//!   transactions commit in.
//! - A [projection] takes each event once: its read model and its place commit together.
//! - An event of a type that the code does not know is an error that names it. It is never skipped.
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
//! Start reading at [`store`]: it has both directions, appending and reading.
//!
//! | module | subject |
//! |---|---|
//! | [`aggregate`] | what its events say together |
//! | [`store`] | appending and reading |
//! | [`recorded`] | an event as it is stored |
//! | [`projection`] | read models that follow the store |

pub mod aggregate;
mod error;
pub mod projection;
pub mod recorded;
mod schema;
pub mod store;

pub use aggregate::{Aggregate, Loaded};
pub use error::{Error, Result};
pub use projection::Projection;
pub use recorded::{Metadata, Recorded};
pub use schema::install;
pub use store::{Append, Expected, Store, Version};
