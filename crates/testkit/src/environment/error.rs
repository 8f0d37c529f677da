//! Why a test cannot go on.

use std::time::Duration;

/// What keeps a test from starting, or from going on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder of the databases cannot be made.
    #[error("cannot make a temporary folder; is the disk full?")]
    Folder(#[source] std::io::Error),
    /// The bus did not start.
    #[error("cannot start a bus for the test")]
    Bus(#[from] events::Error),
    /// A stub did not start.
    #[error("cannot start the stub of {service}")]
    Stub {
        /// The service that it plays.
        service: String,
        /// What went wrong.
        #[source]
        source: env::BoxError,
    },
    /// A service or the gateway did not start.
    #[error(transparent)]
    System(#[from] outrigger::Error),
    /// A token could not be issued.
    #[error("cannot issue a token for the test")]
    Token(#[from] identity::Error),
    /// A service is asked for that does not run.
    #[error("{service} does not run; start it, or leave it out of what is not started")]
    NotRunning {
        /// The service.
        service: String,
    },
    /// The databases cannot be looked into.
    #[error("cannot look into the databases")]
    Inspect(#[from] data::Error),
    /// A database that was opened cannot be read.
    #[error("cannot look into the databases: {reason}")]
    Look {
        /// What the database says.
        reason: String,
    },
    /// What was waited for did not happen.
    #[error("waited {limit:?} in vain: {what}")]
    InVain {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
    },
}
