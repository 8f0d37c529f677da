//! The messages of a system as an AsyncAPI 3.0 document: channels, messages, who sends and who receives.
//!
//! A channel is a type of event, or a command of sagas; an operation is one service at one channel, tagged with the
//! name of the service. Payloads are the `data` of CloudEvents. The types that schemas share are in
//! `components/schemas`, once each.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    Service, System,
    messages::{Message, Name},
};

/// The document.
pub fn document(system: &System) -> Value {
    let mut document = Document::default();
    for service in system.services() {
        let messages = service.declared_messages();
        for message in messages.published.iter().chain(&messages.handled) {
            document.event(message);
        }
        for pair in messages.commands.chunks(2) {
            if let [command, reply] = pair {
                document.command(service, command, reply);
            }
        }
    }
    for service in system.services() {
        document.operations_of(service);
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": system.name(),
            "version": version(system),
            "description": "Messages are CloudEvents 1.0 in JSON; the payloads here are their `data`, and `dataschema` \
                            names the schema of an event with its version.",
        },
        "defaultContentType": "application/json",
        "channels": document.channels,
        "operations": document.operations,
        "components": { "messages": document.messages, "schemas": document.schemas },
    })
}

/// The version of most services; they are released together more often than not.
fn version(system: &System) -> &str {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for service in system.services() {
        *counts.entry(service.declared_version()).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or("0.0.0", |(version, _)| version)
}

#[derive(Default)]
struct Document {
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    messages: Map<String, Value>,
    schemas: Map<String, Value>,
    /// The types in `schemas` as they were in the schemas of messages.
    types: BTreeMap<String, Value>,
}

impl Document {
    /// An event, on the channel of its type.
    fn event(&mut self, message: &Message) {
        if !self.messages.contains_key(&message.name().slug()) {
            let payload = self.shared(message.name(), message.schema());
            self.message(message, payload);
        }
        self.carry(message.topic(), Some(message.topic()), message);
    }

    /// A command, the operation of the service that does it, and the channel of its replies, whose address the command
    /// names.
    fn command(&mut self, service: &Service, command: &Message, reply: &Message) {
        let payload = self.shared(command.name(), command.schema());
        self.message(command, payload);
        let done = self.shared(reply.name(), reply.schema());
        self.message(reply, answer(done));
        let (channel, answers) = (command.topic(), reply.name().slug());
        self.carry(channel, Some(channel), command);
        self.carry(&answers, None, reply);
        let mut operation = operation("receive", service, channel, [command.name()]);
        operation["reply"] = json!({
            "address": {
                "location": "$message.header#/sagareply",
                "description": "The extension `sagareply` of the command is the type of the reply.",
            },
            "channel": { "$ref": format!("#/channels/{answers}") },
            "messages": [{ "$ref": carried(&answers, reply.name()) }],
        });
        let name = format!("{}.receive.{channel}", service.name());
        self.operations.insert(name, operation);
    }

    /// What a service sends and receives of events.
    fn operations_of(&mut self, service: &Service) {
        let messages = service.declared_messages();
        for (action, all) in [
            ("send", &messages.published),
            ("receive", &messages.handled),
        ] {
            let mut channels: BTreeMap<&str, Vec<Name>> = BTreeMap::new();
            for message in all {
                let names = channels.entry(message.topic()).or_default();
                if !names.contains(&message.name()) {
                    names.push(message.name());
                }
            }
            for (channel, names) in channels {
                let name = format!("{}.{action}.{channel}", service.name());
                self.operations
                    .insert(name, operation(action, service, channel, names));
            }
        }
        for pattern in &messages.patterns {
            self.receive_all(service, pattern);
        }
    }

    /// A service that handles events as they come, by a pattern.
    fn receive_all(&mut self, service: &Service, pattern: &str) {
        let prefix = pattern.strip_suffix('*');
        let covers = |channel: &str| match prefix {
            Some(prefix) => channel.starts_with(prefix),
            None => channel == pattern,
        };
        let covered: Vec<_> = self
            .channels
            .keys()
            .filter(|name| covers(name))
            .cloned()
            .collect();
        for channel in covered {
            let name = format!("{}.receive.{channel}", service.name());
            let all = operation("receive", service, &channel, []);
            self.operations.entry(name).or_insert(all);
        }
    }

    fn message(&mut self, message: &Message, payload: Value) {
        let name = message.name();
        let described = json!({
            "name": name.slug(),
            "title": name.to_string(),
            "contentType": "application/json",
            "payload": payload,
            "x-dataschema": message.uri(),
        });
        self.messages.insert(name.slug(), described);
    }

    /// Puts a message onto a channel, which is made if need be.
    fn carry(&mut self, channel: &str, address: Option<&str>, message: &Message) {
        let slug = message.name().slug();
        let entry = self
            .channels
            .entry(channel)
            .or_insert_with(|| json!({ "address": address, "messages": {} }));
        entry["messages"][&slug] = json!({ "$ref": format!("#/components/messages/{slug}") });
    }

    /// A schema whose types are moved to `components/schemas`. One that is called like another but differs is called
    /// by its message too.
    fn shared(&mut self, of: Name, mut schema: Value) -> Value {
        let types = match schema.as_object_mut() {
            Some(keywords) => {
                keywords.remove("$schema");
                keywords.remove("$id");
                keywords.remove("$defs")
            }
            None => None,
        };
        let Some(Value::Object(types)) = types else {
            return schema;
        };
        let mut names = BTreeMap::new();
        for (name, definition) in &types {
            let taken = self
                .types
                .get(name)
                .is_some_and(|known| known != definition);
            let shared = if taken {
                format!("{}.{name}", of.slug())
            } else {
                name.clone()
            };
            names.insert(
                format!("#/$defs/{name}"),
                format!("#/components/schemas/{shared}"),
            );
            self.types.insert(shared, definition.clone());
        }
        for (name, mut definition) in types {
            redirect(&mut definition, &names);
            if let Some(to) = names.get(&format!("#/$defs/{name}")) {
                let shared = to.trim_start_matches("#/components/schemas/");
                self.schemas.insert(shared.to_owned(), definition);
            }
        }
        redirect(&mut schema, &names);
        schema
    }
}

/// What a reply carries: what came of the command, or why it was refused.
fn answer(done: Value) -> Value {
    let text = json!({ "type": "string" });
    json!({ "oneOf": [
        { "type": "object", "properties": { "done": done }, "required": ["done"] },
        {
            "type": "object",
            "properties": { "refused": {
                "type": "object",
                "properties": { "code": text, "detail": text },
                "required": ["code", "detail"],
            } },
            "required": ["refused"],
        },
    ] })
}

fn operation(
    action: &str,
    service: &Service,
    channel: &str,
    names: impl IntoIterator<Item = Name>,
) -> Value {
    let messages = names
        .into_iter()
        .map(|name| json!({ "$ref": carried(channel, name) }));
    let messages: Vec<_> = messages.collect();
    let mut operation = json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{channel}") },
        "tags": [{ "name": service.name() }],
    });
    // Without a list, an operation takes whatever the channel carries.
    if !messages.is_empty() {
        operation["messages"] = messages.into();
    }
    operation
}

fn carried(channel: &str, name: Name) -> String {
    format!("#/channels/{channel}/messages/{}", name.slug())
}

/// Lets every reference point to where its target has moved.
fn redirect(schema: &mut Value, moved: &BTreeMap<String, String>) {
    match schema {
        Value::Object(keywords) => {
            if let Some(Value::String(reference)) = keywords.get_mut("$ref")
                && let Some(to) = moved.get(reference)
            {
                to.clone_into(reference);
            }
            keywords
                .values_mut()
                .for_each(|value| redirect(value, moved));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, moved)),
        _ => {}
    }
}
