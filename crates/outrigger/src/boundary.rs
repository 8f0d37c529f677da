//! Boundaries: what a service is for, what is its own, and whom it calls.
//!
//! They are checked, not decorative. [`System::violations`](crate::System::violations) finds two owners of
//! one table or API, calls in a circle, and calls to nobody; a [`Context`](crate::Context) refuses a client
//! for a service that was not declared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    Service,
    messages::{Message, Name},
};

/// The declared boundary of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boundary {
    /// The part of the business that the service speaks for.
    pub domain: String,
    /// What it answers for, in words.
    pub responsibilities: Vec<String>,
    /// The tables that only this service reads and writes.
    pub owns: Vec<String>,
    /// The path prefixes that it serves.
    pub apis: Vec<String>,
    /// The services that it calls and waits for.
    pub depends_on: Vec<String>,
}

impl Boundary {
    /// A boundary around `domain` that owns nothing yet.
    pub fn of(domain: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            ..Self::default()
        }
    }

    /// Adds something that the service answers for.
    #[must_use]
    pub fn responsible_for(mut self, responsibility: &str) -> Self {
        self.responsibilities.push(responsibility.to_owned());
        self
    }

    /// Names the tables that are the service's own.
    #[must_use]
    pub fn owns<const N: usize>(mut self, tables: [&str; N]) -> Self {
        self.owns = tables.map(str::to_owned).to_vec();
        self
    }

    /// Names the path prefixes that the service serves, such as `/orders`.
    #[must_use]
    pub fn apis<const N: usize>(mut self, prefixes: [&str; N]) -> Self {
        self.apis = prefixes.map(str::to_owned).to_vec();
        self
    }

    /// Names the services that this one calls and waits for.
    #[must_use]
    pub fn depends_on<const N: usize>(mut self, services: [&str; N]) -> Self {
        self.depends_on = services.map(str::to_owned).to_vec();
        self
    }
}

/// A rule that a description breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Two services have one name.
    DuplicateService(String),
    /// Two services own one table.
    SharedTable {
        /// The table.
        table: String,
        /// Its owners.
        owners: [String; 2],
    },
    /// Two services serve one path prefix.
    SharedApi {
        /// The prefix.
        api: String,
        /// Its owners.
        owners: [String; 2],
    },
    /// Two services publish one type of event.
    SharedEvent {
        /// Its type.
        event: String,
        /// Its publishers.
        owners: [String; 2],
    },
    /// A service does not handle a version in which an event is published.
    MissingVersion {
        /// Who handles the event.
        service: String,
        /// Its type.
        event: String,
        /// The version that is published.
        version: u32,
    },
    /// A service depends on one that the system does not have.
    UnknownDependency {
        /// Who depends.
        service: String,
        /// On whom.
        on: String,
    },
    /// Services that call each other in a circle, and so cannot work without each other.
    CallCycle(Vec<String>),
    /// The gateway sends requests to a service that the system does not have.
    UnknownRouteTarget {
        /// The route's path.
        path: String,
        /// The missing service.
        service: String,
    },
    /// The gateway sends a path to a service that does not declare it.
    UndeclaredRoute {
        /// The route's path.
        path: String,
        /// The service that would get it.
        service: String,
    },
    /// The gateway's file cannot be read.
    UnreadableGateway(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateService(name) => {
                write!(f, "two services are named {name}; rename one of them")
            }
            Self::SharedTable {
                table,
                owners: [a, b],
            } => write!(
                f,
                "table {table} is owned by both {a} and {b}; let one own it, and the other ask or listen"
            ),
            Self::SharedApi {
                api,
                owners: [a, b],
            } => {
                write!(f, "{api} is served by both {a} and {b}; let one serve it")
            }
            Self::SharedEvent {
                event,
                owners: [a, b],
            } => write!(
                f,
                "{event} is published by both {a} and {b}; let one publish it, or give each a type of its own"
            ),
            Self::MissingVersion {
                service,
                event,
                version,
            } => write!(
                f,
                "{service} handles {event}, but not in version {version}, which is published and would become \
                 dead letters; add a handler of that version"
            ),
            Self::UnknownDependency { service, on } => {
                write!(
                    f,
                    "{service} depends on {on}, which is not part of the system"
                )
            }
            Self::CallCycle(path) => write!(
                f,
                "services call each other in a circle: {}; replace one of the calls by an event",
                path.join(" -> ")
            ),
            Self::UnknownRouteTarget { path, service } => {
                write!(
                    f,
                    "the gateway sends {path} to {service}, which is not part of the system"
                )
            }
            Self::UndeclaredRoute { path, service } => write!(
                f,
                "the gateway sends {path} to {service}, whose boundary does not declare it among its apis"
            ),
            Self::UnreadableGateway(reason) => write!(f, "the gateway's routes: {reason}"),
        }
    }
}

/// Finds what the boundaries of `services` have wrong.
pub(crate) fn violations(services: &[Service]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    let mut tables = BTreeMap::new();
    let mut apis = BTreeMap::new();
    for service in services {
        let owner = service.name();
        let boundary = service.declared_boundary();
        if !names.insert(owner) {
            found.push(Violation::DuplicateService(owner.to_owned()));
        }
        for table in &boundary.owns {
            if let Some(other) = tables.insert(table, owner) {
                let owners = [other.to_owned(), owner.to_owned()];
                found.push(Violation::SharedTable {
                    table: table.clone(),
                    owners,
                });
            }
        }
        for api in &boundary.apis {
            if let Some(other) = apis.insert(api, owner) {
                let owners = [other.to_owned(), owner.to_owned()];
                found.push(Violation::SharedApi {
                    api: api.clone(),
                    owners,
                });
            }
        }
    }
    for service in services {
        for on in &service.declared_boundary().depends_on {
            if !names.contains(on.as_str()) {
                let service = service.name().to_owned();
                found.push(Violation::UnknownDependency {
                    service,
                    on: on.clone(),
                });
            }
        }
    }
    found.extend(message_violations(services));
    found.extend(call_cycle(services).map(Violation::CallCycle));
    found
}

/// Finds events with two publishers, and versions that are published and not handled.
fn message_violations(services: &[Service]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut published: BTreeMap<&str, (&str, BTreeSet<u32>)> = BTreeMap::new();
    for service in services {
        for (event, versions) in versions(&service.declared_messages().published) {
            match published.get(event) {
                Some((other, _)) => found.push(Violation::SharedEvent {
                    event: event.to_owned(),
                    owners: [(*other).to_owned(), service.name().to_owned()],
                }),
                None => drop(published.insert(event, (service.name(), versions))),
            }
        }
    }
    // `order` and `order-service` would both tell of their sagas as `order.saga.completed`.
    let mut ends = BTreeMap::new();
    for service in services {
        if service.declared_messages().sagas.is_empty() {
            continue;
        }
        let event = saga::end_topic(service.name(), saga::State::Completed);
        if let Some(other) = ends.insert(event.clone(), service.name()) {
            let owners = [other.to_owned(), service.name().to_owned()];
            found.push(Violation::SharedEvent { event, owners });
        }
    }
    for service in services {
        for (event, handled) in versions(&service.declared_messages().handled) {
            let published = published.get(event).map(|(_, versions)| versions);
            let missing = published
                .into_iter()
                .flat_map(|versions| versions.difference(&handled));
            found.extend(missing.map(|version| Violation::MissingVersion {
                service: service.name().to_owned(),
                event: event.to_owned(),
                version: *version,
            }));
        }
    }
    found
}

/// The versions of each type of event among `messages`.
fn versions(messages: &[Message]) -> BTreeMap<&'static str, BTreeSet<u32>> {
    let mut found: BTreeMap<_, BTreeSet<u32>> = BTreeMap::new();
    for message in messages {
        if let Name::Event { kind, version } = message.name() {
            found.entry(kind).or_default().insert(version);
        }
    }
    found
}

/// The first circle of calls, if there is one: a depth-first search that remembers its path.
fn call_cycle(services: &[Service]) -> Option<Vec<String>> {
    let calls: BTreeMap<&str, &[String]> = services
        .iter()
        .map(|service| {
            (
                service.name(),
                service.declared_boundary().depends_on.as_slice(),
            )
        })
        .collect();
    let mut done = BTreeSet::new();
    calls
        .keys()
        .find_map(|start| visit(start, &calls, &mut Vec::new(), &mut done))
}

fn visit<'a>(
    service: &'a str,
    calls: &BTreeMap<&'a str, &'a [String]>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<String>> {
    if let Some(start) = path.iter().position(|on_path| *on_path == service) {
        let circle = path[start..]
            .iter()
            .chain([&service])
            .map(|name| (*name).to_owned());
        return Some(circle.collect());
    }
    if !done.insert(service) {
        return None;
    }
    path.push(service);
    let called = calls.get(service).copied().unwrap_or_default();
    let circle = called
        .iter()
        .find_map(|callee| visit(callee, calls, path, done));
    path.pop();
    circle
}
