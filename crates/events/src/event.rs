//! What an event is: a struct with a type, a version and a key.

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// Something that happened, told to whoever subscribes.
///
/// Derived where the event is defined:
///
/// ```
/// # use outrigger_events as events;
/// use events::{Event, JsonSchema, schemars};
///
/// #[derive(serde::Serialize, serde::Deserialize, JsonSchema, Event)]
/// #[event("order.created", version = 1, key = order_id, crate = events)]
/// struct OrderCreated { order_id: String, total: i64 }
///
/// let event = OrderCreated { order_id: "7".to_owned(), total: 1250 };
/// assert_eq!((OrderCreated::TYPE, event.key()), ("order.created", "7".to_owned()));
/// ```
///
/// Where `outrigger` is a dependency, `crate = ..` is not needed.
///
/// An event has a JSON Schema because others rely on it: `check` holds it against the one that is committed
/// ([`schema`](crate::schema)). Derive `JsonSchema` for it and for the types of its fields.
pub trait Event: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Its type on the bus: lower-case words with dots between them, such as `order.created`.
    const TYPE: &'static str;
    /// The version of its schema, from 1. A change that an older reader cannot take needs a new one.
    const VERSION: u32;
    /// What must keep its order: events of one key are handled in the order in which they were published (G4).
    fn key(&self) -> String;
}
