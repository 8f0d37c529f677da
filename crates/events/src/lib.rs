//! CloudEvents, the bus and its backends, the outbox relay, consumers and dead letters.
//!
//! What is guaranteed, from a transaction of one service to a transaction of another:
//!
//! - **G1 atomic**: an event is published if, and only if, the transaction that [published](Publish) it commits.
//! - **G2 not lost**: it then reaches every group that subscribed to its type, whatever crashes on the way.
//! - **G3 once**: its effects on the database of the handler's service happen once, however often it is delivered.
//! - **G4 ordered**: within a group, events of one key are handled in the order in which they were published.
//!
//! ```
//! # use outrigger_events as events;
//! use std::sync::Arc;
//! use data::{Database, Transaction};
//! use events::{EmbeddedBus, Event, Handlers, JsonSchema, Publish, consumer, relay, schemars};
//! use tokio_util::sync::CancellationToken;
//!
//! #[derive(serde::Serialize, serde::Deserialize, JsonSchema, Event)]
//! #[event("order.created", version = 1, key = order_id, crate = events)]
//! struct OrderCreated { order_id: String }
//!
//! async fn thank(tx: &mut Transaction, event: OrderCreated) -> Result<(), env::BoxError> {
//!     tx.execute("INSERT INTO thanks VALUES ($1)", data::params![event.order_id]).await?;
//!     Ok(())
//! }
//!
//! # async fn example(orders: Database, notices: Database) -> Result<(), Box<dyn std::error::Error>> {
//! let bus = Arc::new(EmbeddedBus::open("sqlite:bus.sqlite").await?);
//! let stop = CancellationToken::new();
//! tokio::spawn(relay::run(orders.clone(), bus.clone(), relay::Options::default(), stop.clone()));
//! let handlers = Handlers::new().on::<OrderCreated, _>(thank);
//! tokio::spawn(async move {
//!     consumer::run(notices, bus, "notification-service", handlers, consumer::Options::default(), stop).await
//! });
//!
//! let mut tx = orders.begin().await?;
//! tx.publish(OrderCreated { order_id: "7".to_owned() })?;
//! tx.commit().await?;
//! # Ok(()) }
//! ```
//!
//! Start reading at [`bus`]: it is the seam, and says what every backend must do.
//!
//! | module | subject |
//! |---|---|
//! | [`event`], [`envelope`] | what an event is, and how it travels |
//! | [`schema`] | what an event promises its readers, and whether a change keeps it (G12) |
//! | [`publish`], [`relay`] | from a transaction through the outbox to the bus |
//! | [`sequence`] | the numbers by which nothing is missed |
//! | [`bus`], [`embedded`], [`hub`], [`nats`] | the seam, the log in SQLite that is behind it in process, the same log at a hub, and NATS JetStream |
//! | [`handlers`], [`consumer`] | from the bus through the inbox into a transaction |
//! | [`deferred`], [`dead_letters`] | what could not be handled yet, or not at all: in the service's database |
//! | [`mod@rewind`] | a group is given once more what it was given |
//! | [`backoff`] | how long to wait before something is tried again |

pub mod backoff;
pub mod bus;
pub mod consumer;
pub mod dead_letters;
pub mod deferred;
pub mod embedded;
pub mod envelope;
mod error;
pub mod event;
pub mod handlers;
pub mod hub;
pub mod nats;
mod pattern;
pub mod publish;
pub mod relay;
pub mod rewind;
pub mod schema;
pub mod sequence;

pub use backoff::Backoff;
pub use bus::{Bus, Delivery, Subscription};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use deferred::install;
pub use embedded::EmbeddedBus;
pub use envelope::CloudEvent;
pub use error::{Error, Result};
pub use event::Event;
pub use handlers::{Handler, Handlers, PreparedHandler};
pub use hub::HubBus;
/// Implements [`Event`](trait@Event) for a struct.
pub use macros::Event;
pub use nats::NatsBus;
pub use publish::Publish;
pub use rewind::rewind;
/// What derives a JSON Schema; the derive finds `schemars` where it is in scope.
pub use schemars::{self, JsonSchema};
