//! Why a verb could not do its work.

use std::path::PathBuf;

/// An error that ends a verb.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The async runtime did not start.
    #[error("cannot start; is the system out of threads?")]
    Runtime(#[source] std::io::Error),
    /// A setting is wrong.
    #[error("the settings cannot be used")]
    Settings(#[from] outrigger::env::config::Error),
    /// Logging did not start.
    #[error("logging cannot start")]
    Logging(#[from] outrigger::telemetry::Error),
    /// The system did not start, or could not do what was asked.
    #[error(transparent)]
    System(#[from] outrigger::Error),
    /// A data folder cannot be looked into.
    #[error("cannot look into the data folder {}", path.display())]
    Inspect {
        /// The folder.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: outrigger::data::Error,
    },
    /// The bus cannot be looked at.
    #[error("cannot look at the bus")]
    Bus(#[from] outrigger::events::Error),
    /// The hub does not say what was asked.
    #[error("cannot ask the hub at {url}; does it run there?")]
    Hub {
        /// Where it was looked for.
        url: String,
        /// What the registry says.
        #[source]
        source: outrigger::discovery::Error,
    },
    /// There is nothing to sign a token with.
    #[error("the keys of the system cannot be read; name its data folder with --data")]
    Keys(#[source] outrigger::identity::Error),
    /// The own program is not found, to start it again.
    #[error("the own program is not found, of which each service is to be a process")]
    OwnProgram(#[source] std::io::Error),
    /// The settings name peers.
    #[error(
        "processes find each other at the hub: `peers` in the settings has no meaning with --processes"
    )]
    ProcessesAndPeers,
    /// The settings name another registry.
    #[error(
        "processes find each other at the hub of this one: `discovery.registry` in the settings has no meaning with --processes"
    )]
    ProcessesAndRegistry,
    /// Several processes would share a SQLite file.
    #[error(
        "several processes of {service} cannot share its SQLite file: set `database` to a PostgreSQL server, or have one"
    )]
    ReplicasOnSqlite {
        /// The service.
        service: String,
    },
    /// Several processes would be in one group of an embedded bus in a file.
    #[error(
        "several processes of {service} cannot share the bus in a file: leave `messaging.bus` out, so that it is that of the hub, or set it to NATS"
    )]
    ReplicasOnOneBus {
        /// The service.
        service: String,
    },
    /// Several processes would listen on one port.
    #[error(
        "several processes of {service} cannot listen on one port: leave `services.{service}.listen` out, or give it port 0"
    )]
    ReplicasOnOnePort {
        /// The service.
        service: String,
    },
    /// A process did not become ready.
    #[error("{process} {how} before it was ready; what it said is above")]
    Process {
        /// Its name.
        process: String,
        /// How it ended.
        how: String,
    },
    /// Nobody says who may make databases.
    #[error(
        "name the administrator of the server: --admin-url, or the variable ADMIN_DATABASE_URL"
    )]
    NoAdminUrl,
    /// The database or the role of a service could not be made.
    #[error(
        "cannot make the database of {service}; may the role of --admin-url create roles and databases?"
    )]
    Provision {
        /// The service.
        service: String,
        /// What the server says.
        #[source]
        source: outrigger::data::Error,
    },
    /// The settings could not be written.
    #[error("cannot write the settings to {}; give the roles other passwords with --new-passwords", path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file that is to hold passwords is open to others.
    #[error("others may read {0}, and passwords go there; `chmod 600 {0}` first", path.display())]
    ReadByOthers {
        /// The file.
        path: PathBuf,
    },
    /// What a service keeps of events could not be read or changed.
    #[error("{service}: the dead letters cannot be read or changed")]
    DeadLetters {
        /// The service.
        service: String,
        /// What its database says.
        #[source]
        source: outrigger::events::Error,
    },
    /// No service has such a dead letter.
    #[error("no service has a dead letter {0}; `dead-letters list` shows which there are")]
    NoDeadLetter(String),
    /// What a service has to send could not be read or changed.
    #[error("{service}: the outbox cannot be read or changed")]
    Outbox {
        /// The service.
        service: String,
        /// What its database says.
        #[source]
        source: outrigger::data::Error,
    },
    /// No service has set such an event aside.
    #[error("no service has set aside an event {0}; `outbox status` shows which there are")]
    NotSetAside(String),
    /// It was not said whose events are to be sent again.
    #[error(
        "say whose events are to be sent again: `--service NAME`, or `--all` for every service"
    )]
    WhoseOutbox,
    /// The projections of a service could not be read or changed.
    #[error("{service}: the projections cannot be read or changed")]
    Projections {
        /// The service.
        service: String,
        /// What the event store says.
        #[source]
        source: outrigger::eventsourcing::Error,
    },
    /// No service has such a projection.
    #[error("no service has a projection {0}; `projections list` shows which there are")]
    NoProjection(String),
    /// What is to be replayed instead cannot be read.
    #[error("`--edit` takes JSON")]
    Edit(#[source] serde_json::Error),
    /// No service has such a saga.
    #[error(
        "no service has a saga {0}; `sagas list` shows those that cannot go on, and with --state others"
    )]
    NoSaga(String),
    /// The sagas could not be read.
    #[error("the sagas cannot be read")]
    SagasUnread(#[source] outrigger::saga::Error),
    /// Something could not be done about a saga.
    #[error("nothing is done")]
    Saga(#[source] outrigger::saga::Error),
    /// A check could not be carried out.
    #[error("cannot look: {0}")]
    Look(String),
    /// Manifests could not be rendered.
    #[error("cannot render the manifests")]
    Deploy(#[from] ::deploy::Error),
    /// The simulation could not be run.
    #[cfg(feature = "simulation")]
    #[error("cannot simulate")]
    Simulation(#[from] testkit::simulation::Error),
    /// What was asked for as a file cannot be written.
    #[cfg(feature = "simulation")]
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The same seed could not be run again.
    #[cfg(feature = "simulation")]
    #[error("cannot start a process that simulates the seed again")]
    Again(#[source] std::io::Error),
}
