//! Durable sagas: an async fn that survives a crash, and undoes what it did when it fails.
pub mod command;
mod compensation;
mod definition;
mod driver;
mod error;
pub mod failure;
pub mod journal;
mod replay;
pub mod run;
mod saga;
mod sagas;
mod status;
pub mod step;
mod store;
mod timers;
mod waiting;
mod wire;

pub use command::Command;
pub use compensation::UNDO_ATTEMPTS;
pub use definition::{Definition, Input};
pub use error::{Error, Result};
pub use failure::Failure;
pub use journal::Entry;
/// Implements [`Command`](trait@Command) for a struct.
pub use macros::Command;
pub use saga::{CALL_LIMIT, Call, Saga, Sleep};
pub use sagas::{ID_LIMIT, Sagas};
pub use status::{Outcome, State, Status};
