//! The map of a system: each service with what is its own, whom it calls, and what it says to whom.

use std::fmt;

use serde::Serialize;

use crate::{
    Service, System,
    messages::{Messages, Name},
};

/// A system as its description draws it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemMap {
    /// Its name.
    pub system: String,
    /// Its services, in the order of the description.
    pub services: Vec<ServiceMap>,
}

/// A service on the map.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMap {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The part of the business that it speaks for.
    pub domain: String,
    /// What it answers for.
    pub responsibilities: Vec<String>,
    /// The path prefixes that it serves.
    pub apis: Vec<String>,
    /// The tables that are its own.
    pub tables: Vec<String>,
    /// The services that it calls and waits for.
    pub calls: Vec<String>,
    /// What it publishes, and who hears it.
    pub publishes: Vec<Line>,
    /// What it hears, and who publishes it.
    pub hears: Vec<Line>,
    /// The sagas that it runs.
    pub sagas: Vec<String>,
    /// What it does for sagas.
    pub commands: Vec<String>,
}

/// An event between services.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The event with its version, or a pattern.
    pub event: String,
    /// The services at the other end.
    pub services: Vec<String>,
}

/// Draws `system`.
pub fn of(system: &System) -> SystemMap {
    SystemMap {
        system: system.name().to_owned(),
        services: system
            .services()
            .iter()
            .map(|service| draw(system, service))
            .collect(),
    }
}

fn draw(system: &System, service: &Service) -> ServiceMap {
    let (boundary, messages) = (service.declared_boundary(), service.declared_messages());
    let with = |holds: &dyn Fn(&Messages) -> bool| -> Vec<String> {
        let others = system.services().iter();
        others
            .filter(|other| holds(other.declared_messages()))
            .map(|other| other.name().to_owned())
            .collect()
    };
    let publishes = messages.published.iter().map(|message| Line {
        event: short(message.name()),
        services: with(&|other| hears(other, message.name())),
    });
    let by_type = messages.handled.iter().map(|message| Line {
        event: short(message.name()),
        services: with(&|other| {
            other
                .published
                .iter()
                .any(|known| known.name() == message.name())
        }),
    });
    let by_pattern = messages.patterns.iter().map(|pattern| Line {
        event: (*pattern).to_owned(),
        services: with(&|other| {
            other
                .published
                .iter()
                .any(|known| covers(pattern, known.topic()))
        }),
    });
    let commands = messages
        .commands
        .iter()
        .filter_map(|message| match message.name() {
            Name::Command { action, .. } => Some(action.to_owned()),
            _ => None,
        });
    ServiceMap {
        name: service.name().to_owned(),
        version: service.declared_version().to_owned(),
        domain: boundary.domain.clone(),
        responsibilities: boundary.responsibilities.clone(),
        apis: boundary.apis.clone(),
        tables: boundary.owns.clone(),
        calls: boundary.depends_on.clone(),
        publishes: publishes.collect(),
        hears: by_type.chain(by_pattern).collect(),
        sagas: messages.sagas.iter().map(|&saga| saga.to_owned()).collect(),
        commands: commands.collect(),
    }
}

/// Whether a service with `messages` handles the event.
fn hears(messages: &Messages, event: Name) -> bool {
    let Name::Event { kind, .. } = event else {
        return false;
    };
    messages.handled.iter().any(|known| known.name() == event)
        || messages
            .patterns
            .iter()
            .any(|pattern| covers(pattern, kind))
}

fn covers(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => kind == pattern,
    }
}

fn short(name: Name) -> String {
    match name {
        Name::Event { kind, version } => format!("{kind} v{version}"),
        other => other.to_string(),
    }
}

impl fmt::Display for SystemMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} services", self.system, self.services.len())?;
        self.services
            .iter()
            .try_for_each(|service| write!(f, "\n\n{service}"))
    }
}

impl fmt::Display for ServiceMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)?;
        for responsibility in &self.responsibilities {
            write!(f, "\n  {responsibility}")?;
        }
        for (label, all) in [
            ("serves", &self.apis),
            ("owns", &self.tables),
            ("calls", &self.calls),
            ("runs", &self.sagas),
            ("does", &self.commands),
        ] {
            if !all.is_empty() {
                write!(f, "\n    {label:9}  {}", all.join(", "))?;
            }
        }
        lines(f, "publishes", "->", &self.publishes)?;
        lines(f, "hears", "<-", &self.hears)
    }
}

fn lines(f: &mut fmt::Formatter<'_>, label: &str, arrow: &str, lines: &[Line]) -> fmt::Result {
    let width = lines.iter().map(|line| line.event.len()).max().unwrap_or(0);
    for (index, Line { event, services }) in lines.iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        write!(f, "\n    {label:9}  {event:width$}  {arrow} ")?;
        match services.is_empty() {
            true => f.write_str("nobody here")?,
            false => f.write_str(&services.join(", "))?,
        }
    }
    Ok(())
}
