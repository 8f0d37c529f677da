//! The control plane of a system whose services are processes of their own: today, who is where.
//!
//! It is a crate of its own because it is a server that no service needs: its client is in `discovery`, so that who
//! joins a hub builds none. Any language can join with an HTTP client alone; `/openapi.json` says how.
//!
//! What is guaranteed:
//! - **A restarted hub forgets nothing.** Every registration is on the hub's own disk before it is acknowledged, and an
//!   instance is expected for a whole TTL after the restart: nobody leaves because the hub was away.
//! - **Who is silent leaves** within the TTL and one sweep (G7), unless it was the hub that stood still.
//! - **Closed** (G10). With a [`Verifier`], nothing is answered without a token for the hub, and nobody registers,
//!   keeps or removes an instance of another service.
//! - **Bounded**: instances, watchers, the size of what is sent. A slow watcher misses states in between, never the last.
//!
//! | module | subject |
//! |---|---|
//! | `api.rs` | the paths; start here |
//! | `registry.rs` | memory and disk, in which order |
//! | `watchers.rs` | server-sent events |
//! | `input.rs` | what is refused, and what is said then |
//! | `store.rs` | the statements |
//!
//! ```no_run
//! # use outrigger_hub as hub;
//! use hub::{Hub, Options};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> Result<(), hub::Error> {
//! let hub = Hub::open("sqlite:hub.sqlite", Options::default()).await?;
//! let stop = CancellationToken::new();
//! let routes: axum::Router = hub.routes(); // to be served by whoever has a listener
//! hub.run(stop).await;
//! # Ok(())
//! # }
//! ```

mod api;
mod error;
mod input;
mod registry;
mod store;
mod watchers;

use std::sync::Arc;

use axum::Router;
use data::Database;
use discovery::Ttl;
use identity::Verifier;
use tokio_util::sync::CancellationToken;

pub use error::{Error, Result};

/// What a hub allows.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long an instance may be silent. Default 90 s, looked at every 30 s.
    pub ttl: Ttl,
    /// The most instances that are registered at a time. Default 20,000.
    pub instances: usize,
    /// The most watches at a time. Default 10,000.
    pub watchers: usize,
    /// Whose tokens open it; its audience is [`discovery::HUB`]. Default none: it is open to whoever can reach it.
    pub verifier: Option<Verifier>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ttl: Ttl::default(),
            instances: 20_000,
            watchers: 10_000,
            verifier: None,
        }
    }
}

/// A hub. Cheap to clone; a clone is the same hub.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    registry: registry::Durable,
    watchers: watchers::Watchers,
    verifier: Option<Verifier>,
}

impl Hub {
    /// A hub that keeps its state in the database at `url`, which it alone uses.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn open(url: &str, options: Options) -> Result<Self> {
        let db = Database::open(url).await?.owned_by(discovery::HUB);
        let registry = registry::Durable::open(db, options.ttl, options.instances).await?;
        let watchers = watchers::Watchers::new(registry.memory().clone(), options.watchers);
        Ok(Self(Arc::new(Shared {
            registry,
            watchers,
            verifier: options.verifier,
        })))
    }

    /// What it answers, below `/v1/registry`, and at `/health` and `/openapi.json`.
    pub fn routes(&self) -> Router {
        api::routes(self.clone())
    }

    /// Takes silent instances out of rotation, until `stop`; then ends every watch, so that no stream holds up the
    /// server that drains.
    pub async fn run(&self, stop: CancellationToken) {
        self.0.registry.sweep(stop).await;
        self.0.watchers.end();
    }
}

/// `docs/guide/processes.md`, whose code is compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/processes.md")]
mod guide {}
