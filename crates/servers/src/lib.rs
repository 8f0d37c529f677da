//! Private servers for tests, real ones: each on a free port, in a folder of its own, and gone when it is dropped.
//!
//! ```no_run
//! # use outrigger_servers as servers;
//! # async fn example() -> Result<(), servers::Error> {
//! let mut nats = servers::Nats::start(servers::nats::Options::default()).await?;
//! println!("{}", nats.url());
//! nats.kill().await;
//! nats.restart().await?;
//!
//! let postgres = servers::Postgres::start().await?;
//! let url = postgres.database("orders").await?; // postgres://postgres@127.0.0.1:…/orders
//! # Ok(()) }
//! ```
//!
//! A crate of its own, because the tests of several crates need it and nothing that is shipped does.

mod guard;
pub mod nats;
pub mod postgres;
mod programs;
pub mod tls;

pub use nats::Nats;
pub use postgres::Postgres;
pub use tls::Tls;

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there.
    #[error("cannot run {program}: {install}")]
    Missing {
        /// The program.
        program: &'static str,
        /// How to get it.
        install: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The program ran and did not answer.
    #[error("{program} does not start; it says:\n{said}")]
    Start {
        /// The program.
        program: &'static str,
        /// Its log.
        said: String,
    },
    /// A program that helps the server failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// The program.
        program: String,
        /// What it printed.
        said: String,
    },
    /// The server refuses to run as root, and the user to run it as does not exist.
    #[error("there is no user `{user}` to run the server as")]
    NoUser {
        /// The user's name.
        user: &'static str,
    },
    /// A folder or a port of its own could not be had.
    #[error("cannot prepare a private server")]
    Folder(#[source] std::io::Error),
}

/// Where the ports of servers begin, and how many there are: below those that a system gives to its clients (Linux: 32768
/// and above), any of which could be taken before a server starts, or while it is down.
const PORTS: (u16, u16) = (20_000, 12_000);

/// A port that nobody listens on now.
async fn free_port() -> Result<u16, Error> {
    const ATTEMPTS: u32 = 100;
    let (first, count) = PORTS;
    let mut refused = std::io::ErrorKind::AddrInUse.into();
    for _ in 0..ATTEMPTS {
        let chosen = env::random().below(u64::from(count));
        let port = first + u16::try_from(chosen).unwrap_or_default();
        match env::net::listen(([127, 0, 0, 1], port).into()).await {
            Ok(_) => return Ok(port),
            Err(error) => refused = error,
        }
    }
    Err(Error::Folder(refused))
}
