//! What can keep a system from starting or running.

use std::{net::SocketAddr, path::PathBuf};

use crate::Violation;

/// The result of starting, running or asking a system.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a system could not be started, or could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The description breaks its own rules.
    #[error("the system's description breaks {} rule(s): {}", .0.len(), list(.0))]
    Invalid(Vec<Violation>),
    /// The system has no such service.
    #[error("there is no service {name}; the system has {known}")]
    UnknownService {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A client for a service that is not among the declared dependencies.
    #[error("{service} may not call {target}: add it to `depends_on` in the boundary of {service}")]
    UndeclaredDependency {
        /// Who wants to call.
        service: String,
        /// Whom.
        target: String,
    },
    /// The settings say how a service is called that the system does not have.
    #[error("`calls.{name}` in the settings names no service of the system{}", hint(nearest.as_ref()))]
    UnknownCallee {
        /// What is named.
        name: String,
        /// The service that was probably meant.
        nearest: Option<String>,
    },
    /// Two services that the settings give the same database.
    #[error(
        "{one} and {other} would share a database, and each service has its own: write `{{service}}` into the path of \
         `database`, as in `postgres://{{service}}:…@host/{{service}}`, or name one under `[services.{other}]`"
    )]
    SharedDatabase {
        /// A service.
        one: String,
        /// Another one.
        other: String,
    },
    /// The folder of the databases cannot be made.
    #[error("cannot make the data folder {}; check its permissions, or name another with --data", path.display())]
    DataFolder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The others are to be found in two ways.
    #[error(
        "the settings name {one} and {other}, and the others are found in one way: leave one of them out"
    )]
    FoundTwice {
        /// A way.
        one: String,
        /// Another one.
        other: &'static str,
    },
    /// The port cannot be listened on.
    #[error("{who} cannot listen on {address}; is something else running there?")]
    Listen {
        /// The service, or the gateway.
        who: String,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A part of a service failed to start.
    #[error("{service} cannot start its {part}")]
    Start {
        /// The service.
        service: String,
        /// Its database, messaging, …
        part: &'static str,
        /// What that part says.
        #[source]
        source: env::BoxError,
    },
    /// The committed contracts cannot be read or written.
    #[error("cannot read or write the contracts at {}; is it the folder of this system?", path.display())]
    Contracts {
        /// The folder, or the file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing of a service yet.
    #[error("{service} never ran on {}; name another folder with --data", data.display())]
    NeverRan {
        /// The service.
        service: String,
        /// The folder of the databases.
        data: PathBuf,
    },
    /// There is nothing of a whole system yet.
    #[error(
        "no service of {system} has run on {}; name another folder with --data, or other settings with --config",
        data.display()
    )]
    NothingThere {
        /// The system.
        system: String,
        /// The folder of the databases.
        data: PathBuf,
    },
    /// The system's bus is a server.
    #[error(
        "the groups of the embedded bus are asked for, and `messaging.bus` names a server: see there"
    )]
    NotEmbedded,
    /// A group is to be forgotten that a service of the system has.
    #[error(
        "{group} is a service of the system, which would be given everything once more; only what is left of a service that is no more is forgotten"
    )]
    GroupOfService {
        /// The group.
        group: String,
    },
    /// A group is to be forgotten that the bus does not have.
    #[error("the bus has no group {group}; it has {known}")]
    UnknownGroup {
        /// What was asked for.
        group: String,
        /// What there is.
        known: String,
    },
    /// A handler is named that the service does not have.
    #[error("{service} has no handler of events for `{handler}`; it has {known}")]
    UnknownHandler {
        /// The service.
        service: String,
        /// What was asked for.
        handler: String,
        /// What there is.
        known: String,
    },
    /// A service could not go back on the bus.
    #[error("{service} goes on where it was on the bus")]
    Rewind {
        /// The service.
        service: String,
        /// What its database or the bus says.
        #[source]
        source: events::Error,
    },
    /// The gateway's routes cannot be read.
    #[error("gateway.toml cannot be used")]
    Gateway(#[source] gateway::Error),
}

impl Error {
    /// Whether it is only that the server of a database does not answer (yet), so that starting again may help.
    pub fn is_database_away(&self) -> bool {
        let mut error: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(current) = error {
            if let Some(data::Error::Unavailable { .. }) = current.downcast_ref() {
                return true;
            }
            error = current.source();
        }
        false
    }

    /// Says which `part` of `service` failed to start.
    pub(crate) fn start<E: Into<env::BoxError>>(
        service: &str,
        part: &'static str,
    ) -> impl FnOnce(E) -> Self {
        let service = service.to_owned();
        move |source| Self::Start {
            service,
            part,
            source: source.into(),
        }
    }
}

fn hint(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |name| {
        format!("; did you mean `calls.{name}`?")
    })
}

fn list(violations: &[Violation]) -> String {
    violations
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
