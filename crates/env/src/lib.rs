//! The seams between a system and the world: clock, chance, ids, sockets, configuration.
//!
//! Everything that differs from one run to the next comes through this crate. In production it is the
//! system clock, the operating system's generator and `tokio::net`; inside a simulation it is what the
//! entered [`World`](world::World) answers. Code above this crate cannot tell which, and `clippy.toml`
//! refuses the ways round it.
//!
//! Start at [`world`]: it is the whole of what a simulation must provide.
//!
//! | module | subject |
//! |---|---|
//! | [`clock`] | wall time, monotonic time, waiting |
//! | [`chance`] | random numbers and ids |
//! | [`finding`] | what a look at a part of the system has found |
//! | [`net`] | listening and connecting |
//! | [`mod@http`] | the HTTP client over that: pooled connections |
//! | [`config`] | typed configuration from file, environment and flags |
//! | [`problem`] | RFC 9457 problem details, the one form of an error on the wire |
//! | [`pure`] | noticing that code asks the world which must not |
//! | [`tls`] | connections that are encrypted |
//! | [`request`] | what a request carries through every call, event and saga that it causes |
//! | [`world`] | the seam itself |
//!
//! ```
//! # use outrigger_env as env;
//! let before = env::now();
//! let id = env::id();
//! assert!(id.get_version_num() == 7 && env::now() >= before);
//! ```

mod chain;
pub mod chance;
pub mod clock;
pub mod config;
pub mod finding;
pub mod http;
pub mod net;
pub mod problem;
pub mod pure;
pub mod request;
pub mod tls;
pub mod world;

pub use chain::{causes, chain};
pub use chance::{Random, id, random};
pub use clock::{
    Elapsed, Instant, SignedDuration, Timestamp, instant, now, sleep, sleep_until, timeout,
};
pub use finding::{Finding, Severity};
pub use problem::Problem;
pub use request::RequestContext;
pub use uuid::Uuid;

/// Any error, boxed: what a handler may fail with, and what a body may break off with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
