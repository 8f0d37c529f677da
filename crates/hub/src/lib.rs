//! The control plane of a system whose services are processes of their own: who is where, and the bus between them.
//!
//! It is a crate of its own because it is a server that no service needs: its clients are in `discovery` and `events`, so
//! that who joins a hub builds none. Any language can join with an HTTP client alone; `/openapi.json` says how.
//!
//! What is guaranteed:
//! - **A restarted hub forgets nothing.** Every registration is on the hub's own disk before it is acknowledged, and an
//!   instance is expected for a whole TTL after the restart: nobody leaves because the hub was away.
//! - **Who is silent leaves** within the TTL and one sweep (G7), unless it was the hub that stood still.
//! - **No event is lost** (G2), and those of a key keep their order (G4), as on every bus; `bus.rs` says how.
//! - **Closed** (G10). With a [`Verifier`], nothing is answered without a token for the hub, and nobody registers,
//!   keeps or removes an instance of another service, publishes in its name or takes what is for it.
//! - **Bounded**: instances, watchers, groups, members, the size of what is sent and answered. A slow watcher misses states in between, never the last.
//!
//! | module | subject |
//! |---|---|
//! | `api.rs` | the paths; start here |
//! | [`bus`] | events for groups, whose members have leases |
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
pub mod bus;
mod error;
mod input;
mod registry;
mod store;
mod watchers;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use data::Database;
use discovery::{InProcess, Ttl};
use events::EmbeddedBus;
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
    /// After so long without a change each watch says that the hub is there. Watchers are told of it, and take the hub for
    /// gone after three times that. Default 15 s.
    pub keep_alive: Duration,
    /// What the bus allows.
    pub bus: bus::Options,
    /// Whose tokens open it; its audience is [`discovery::HUB`]. Default none: it is open to whoever can reach it.
    pub verifier: Option<Verifier>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ttl: Ttl::default(),
            instances: 20_000,
            watchers: 10_000,
            keep_alive: Duration::from_secs(15),
            bus: bus::Options::default(),
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
    bus: bus::Bus,
    verifier: Option<Verifier>,
}

impl Hub {
    /// A hub that keeps its state in the database at `url`, which it alone uses.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn open(url: &str, options: Options) -> Result<Self> {
        let db = Database::open(url).await?.owned_by(discovery::HUB);
        let registry = registry::Durable::open(db.clone(), options.ttl, options.instances).await?;
        let memory = registry.memory().clone();
        let watchers = watchers::Watchers::new(memory, options.watchers, options.keep_alive);
        Ok(Self(Arc::new(Shared {
            registry,
            watchers,
            bus: bus::Bus::open(db, options.bus).await?,
            verifier: options.verifier,
        })))
    }

    /// The registry in memory, for who lives and dies with this process: what registers here, others find, and a restarted
    /// hub knows nothing of it.
    pub fn registry(&self) -> &InProcess {
        self.0.registry.memory()
    }

    /// Takes whoever registered at `address` out of rotation, for whoever knows that nobody is there any more.
    ///
    /// # Errors
    /// [`Error::Database`]; they are out of rotation, and come back for one TTL if the hub is restarted.
    pub async fn forget(&self, address: SocketAddr) -> Result<()> {
        self.0.registry.forget(address).await
    }

    /// The bus that it serves, for what runs in its own process.
    pub fn bus(&self) -> EmbeddedBus {
        self.0.bus.log().clone()
    }

    /// What it answers: below `/v1/registry`, at `/v1/events` and below `/v1/subscriptions`, at `/health` and
    /// `/openapi.json`.
    pub fn routes(&self) -> Router {
        api::routes(self.clone())
    }

    /// Takes silent instances out of rotation and silent members out of their groups, until `stop`; then ends every watch
    /// and every wait for events, so that none holds up the server that drains.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.0.registry.sweep(stop.clone()), self.0.bus.sweep(stop));
        self.0.watchers.end();
    }
}

/// `docs/guide/processes.md`, whose code is compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/processes.md")]
mod guide {}
