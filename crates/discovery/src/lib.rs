//! Who is where, which of them takes a request, and the client for calls between services.
//!
//! What is guaranteed: an instance whose heartbeats stop leaves rotation within its TTL and one sweep, and one that
//! fails or hangs is left alone sooner (G7); changes come by watch, without polling; a call has a deadline, carries
//! the correlation id, the trace and a token of the caller, and streams both ways.
//!
//! | module | subject |
//! |---|---|
//! | [`registry`], [`instance`] | who is where, and every change of it |
//! | [`registrar`] | keeping an instance there for as long as it runs |
//! | [`balance`] | which instance takes a request |
//! | [`outlier`], [`health`] | which instances are left out, by comparison and by asking |
//! | [`upstream`] | all instances of a service, as one to send requests to; start here |
//! | [`client`], [`path`] | JSON calls, and their paths |
//!
//! ```no_run
//! use std::sync::Arc;
//! use outrigger_discovery::{Clients, Instance, StaticList};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let known = StaticList::new([Instance::new("user-service", "127.0.0.1:7001".parse()?)]);
//! let users = Clients::new(Arc::new(known), None).client("user-service");
//! let ada: Option<serde_json::Value> = users.get("/users/{id}", &[&"ada"]).await?;
//! # Ok(())
//! # }
//! ```

pub mod balance;
pub mod client;
mod error;
pub mod health;
pub mod instance;
pub mod outlier;
pub mod path;
pub mod registrar;
pub mod registry;
pub mod upstream;

pub use client::{Client, Clients, Configuration, Policies};
pub use env::http::{Connector, HttpClient, http_client, http_client_within};
pub use error::{Error, Result};
pub use instance::Instance;
#[cfg(feature = "nats")]
pub use registry::NatsKv;
pub use registry::{Dns, HUB, Hub, InProcess, Kubernetes, Registry, StaticList, Ttl};
pub use upstream::{Policy, Protected, Settings, Upstream};
