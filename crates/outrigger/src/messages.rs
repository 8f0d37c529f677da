//! What a service says and what it is told: the messages that its description declares.
//!
//! Each has a name, a place on the bus and a schema. [`contracts`](crate::contracts) holds the schemas against those
//! that are committed; [`asyncapi`](crate::asyncapi) and [`map`](crate::map) show who says what to whom.

use std::fmt;

use events::{Event, schema};
use saga::{Command, command};
use serde_json::Value;

/// A kind of message, by the name that readers know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A version of an event.
    Event {
        /// Its type: `order.created`.
        kind: &'static str,
        /// The version of its schema.
        version: u32,
    },
    /// A command of a saga.
    Command {
        /// Who does it.
        service: &'static str,
        /// What it does.
        action: &'static str,
    },
    /// What is answered to a command that was done.
    Reply {
        /// Who did it.
        service: &'static str,
        /// What was done.
        action: &'static str,
    },
}

impl Name {
    /// What the message is called in files and documents: `order.created.v1`, `inventory-service.reserve-items`.
    pub fn slug(&self) -> String {
        match self {
            Self::Event { kind, version } => format!("{kind}.v{version}"),
            Self::Command { service, action } => format!("{service}.{action}"),
            Self::Reply { service, action } => format!("{service}.{action}.reply"),
        }
    }

    /// The URI of its schema.
    fn uri(&self) -> String {
        match self {
            Self::Event { kind, version } => schema::event_uri(kind, *version),
            Self::Command { service, action } => {
                format!("urn:outrigger:command:{service}:{action}")
            }
            Self::Reply { service, action } => format!("urn:outrigger:reply:{service}:{action}"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event { kind, version } => write!(f, "event {kind} v{version}"),
            Self::Command { service, action } => write!(f, "command {action} of {service}"),
            Self::Reply { service, action } => write!(f, "reply to {action} of {service}"),
        }
    }
}

/// A kind of message with its schema.
#[derive(Debug, Clone)]
pub struct Message {
    name: Name,
    topic: String,
    schema: fn(&str) -> Value,
}

impl Message {
    /// An event.
    pub fn event<E: Event>() -> Self {
        Self {
            name: Name::Event {
                kind: E::TYPE,
                version: E::VERSION,
            },
            topic: E::TYPE.to_owned(),
            schema: schema::of::<E>,
        }
    }

    /// A command, and the reply to it.
    pub fn command<C: Command>() -> [Self; 2] {
        let (service, action) = (C::SERVICE, C::ACTION);
        let topic = command::topic::<C>();
        [
            Self {
                name: Name::Command { service, action },
                topic: topic.clone(),
                schema: schema::of::<C>,
            },
            Self {
                name: Name::Reply { service, action },
                topic,
                schema: schema::of::<C::Reply>,
            },
        ]
    }

    /// Its name.
    pub fn name(&self) -> Name {
        self.name
    }

    /// The type that it has on the bus; a reply has that of the command which it answers.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The JSON Schema of what it carries.
    pub fn schema(&self) -> Value {
        (self.schema)(&self.uri())
    }

    /// The URI of that schema; an event names it in `dataschema`.
    pub fn uri(&self) -> String {
        self.name.uri()
    }
}

/// The messages of one service.
#[derive(Debug, Clone, Default)]
pub struct Messages {
    /// The events that it publishes.
    pub published: Vec<Message>,
    /// The events that it handles by their types.
    pub handled: Vec<Message>,
    /// The patterns of the events that it handles as they come.
    pub patterns: Vec<&'static str>,
    /// The commands that it does, each followed by its reply.
    pub commands: Vec<Message>,
    /// The sagas that it runs.
    pub sagas: Vec<&'static str>,
}
