//! Durable sagas: an `async fn` that survives a crash, and takes back what it did when it fails.
//!
//! What is guaranteed (G5 sagas end): a saga that was started ends completed, or compensated (what it did is undone in
//! reverse order), or it is parked where an operator sees it with the reason, and can have it resumed.
//!
//! How: nothing of the function is kept in memory between two steps. It is run again from its beginning over a
//! [journal] of what it did and what was answered, inside the transaction that takes in the next answer. The journal,
//! the state and the next commands commit with that answer (G1), so there is no moment at which a crash could come
//! between an effect and its record. An answer that comes twice, or too late, changes nothing.
//!
//! ```
//! # use outrigger_saga as saga;
//! # use data::{Database, Transaction};
//! use events::{Handlers, JsonSchema, schemars};
//! use saga::{Command, Failure, Input, Saga, Sagas, command};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, JsonSchema, Command)]
//! #[command("inventory-service", "reserve-items", crate = saga)]
//! struct ReserveItems { order_id: String }
//!
//! #[derive(Serialize, Deserialize, JsonSchema, Command)]
//! #[command("inventory-service", "release-items", crate = saga)]
//! struct ReleaseItems { order_id: String }
//!
//! #[derive(Serialize, Deserialize, JsonSchema, Command)]
//! #[command("payment-service", "charge-payment", reply = String, crate = saga)]
//! struct ChargePayment { order_id: String }
//!
//! #[derive(Serialize, Deserialize)]
//! struct PlaceOrder { order_id: String }
//!
//! impl Input for PlaceOrder {
//!     const SAGA: &'static str = "place-order";
//! }
//!
//! async fn place_order(saga: Saga, order: PlaceOrder) -> Result<(), Failure> {
//!     let order_id = || order.order_id.clone();
//!     saga.call(ReserveItems { order_id: order_id() })
//!         .undo(ReleaseItems { order_id: order_id() })
//!         .await?;
//!     let receipt: String = saga.call(ChargePayment { order_id: order_id() }).await?;
//!     # drop(receipt);
//!     Ok(())
//! }
//!
//! // In inventory-service:
//! async fn reserve(tx: &mut Transaction, command: ReserveItems) -> Result<(), command::Error> {
//!     let take = "UPDATE stock SET count = count - 1 WHERE count > 0";
//!     if tx.execute(take, data::params![]).await? == 0 {
//!         return Err(Failure::new("insufficient-inventory", "Nothing is left.").into());
//!     }
//!     Ok(())
//! }
//! # fn participant() -> Handlers {
//! command::handle::<ReserveItems, _>(Handlers::new(), reserve)
//! # }
//!
//! # async fn example(db: Database) -> Result<(), Box<dyn std::error::Error>> {
//! // In order-service:
//! let sagas = Sagas::open(db.clone()).await?;
//! sagas.register(place_order);
//! let mut tx = db.begin().await?;
//! sagas.start(&mut tx, "order-7", PlaceOrder { order_id: "order-7".to_owned() }).await?;
//! tx.commit().await?;
//! # Ok(()) }
//! ```
//!
//! Start reading at [`step`]: it is the whole of a saga, without any I/O.
//!
//! | module | subject |
//! |---|---|
//! | [`step`] | one step: from the journal to what is to be done |
//! | [`journal`], `ledger`, `deed` | what is remembered, and what it says of each thing that was begun |
//! | `replay`, [`run`], `fresh` | running the function over its journal |
//! | `saga`, `call`, `child`, `wait_for`, `attempts`, `retry` | the handle that the function gets, and what it can await |
//! | `compensation` | which undo is next |
//! | [`command`], `wire` | commands and replies, on both sides |
//! | `sagas`, `driver`, `store` | steps in transactions |
//! | `local` | calls that are done in the transaction of the step |
//! | `timers`, `waiting`, `signals`, `children` | what steps follow from beside replies |
//! | `operate` | looking at sagas, and stepping in |

mod attempts;
mod call;
mod child;
mod children;
pub mod command;
mod compensation;
mod deed;
mod definition;
mod driver;
mod error;
pub mod failure;
mod fresh;
pub mod journal;
mod ledger;
mod local;
mod operate;
mod replay;
mod retry;
pub mod run;
mod saga;
mod sagas;
mod signals;
mod status;
pub mod step;
mod store;
mod timers;
mod wait_for;
mod waiting;
mod wire;

pub use call::{CALL_LIMIT, Call};
pub use child::Child;
pub use command::Command;
pub use compensation::UNDO_ATTEMPTS;
pub use definition::{Definition, Input};
pub use driver::end_topic;
pub use error::{Error, Result};
pub use failure::Failure;
pub use journal::Entry;
/// Implements [`Command`](trait@Command) for a struct.
pub use macros::Command;
pub use operate::Event;
pub use retry::Retry;
pub use saga::{Saga, Sleep};
pub use sagas::{ID_LIMIT, SIGNAL_DAYS, Sagas};
pub use status::{Outcome, State, Status};
pub use wait_for::{SIGNAL_LIMIT, WaitFor};
