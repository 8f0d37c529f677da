//! Derives for the messages of a system: [`macro@Event`] and [`macro@Command`].
//!
//! Each names where a message stands on the bus, at the place where the message is defined, and does nothing
//! else. They are used through `events::Event` and `saga::Command`, which have the trait under the same name.
//! What is wrong with an attribute is an error at the very token.
//!
//! ```ignore
//! #[derive(Serialize, Deserialize, JsonSchema, Event)]
//! #[event("order.created", version = 1, key = order_id)]
//! struct OrderCreated { order_id: String, total: Money }
//!
//! #[derive(Serialize, Deserialize, JsonSchema, Command)]
//! #[command("inventory-service", "reserve-items", reply = Reserved)]
//! struct ReserveItems { order_id: String, lines: Vec<Line> }
//! ```
//!
//! Both take `crate = path` for code that names `events` or `saga` itself instead of `outrigger`.

mod attribute;
mod command;
mod event;

use proc_macro::TokenStream;
use syn::{DeriveInput, Error, parse_macro_input};

/// Implements `events::Event`: `#[event("order.created", version = 1, key = order_id)]`.
///
/// - The **type** is lower-case words with dots between them, the subject first.
/// - The **version** is a number from 1. An incompatible change of the struct needs a new one.
/// - The **key** is a field (`order_id`, or `order.id` for a field's field) whose `Display` is the key: events of
///   one key are handled in the order in which they were published.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    event::expand(&parse_macro_input!(input as DeriveInput))
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// Implements `saga::Command`: `#[command("inventory-service", "reserve-items", reply = Reserved)]`.
///
/// - The **service** and the **action** are lower-case words with hyphens between them.
/// - The **reply** is what the service answers when it has done it; without one it is `()`.
#[proc_macro_derive(Command, attributes(command))]
pub fn derive_command(input: TokenStream) -> TokenStream {
    command::expand(&parse_macro_input!(input as DeriveInput))
        .unwrap_or_else(Error::into_compile_error)
        .into()
}
