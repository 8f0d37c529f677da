//! How commands and replies look on the bus.

use data::Transaction;
use events::{CloudEvent, Publish};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Failure, journal::Entry};

const SAGA: &str = "sagaid";
const SEQ: &str = "sagaseq";
const REPLY: &str = "sagareply";

/// The type of the commands to `service` that ask for `action`.
pub(crate) fn topic(service: &str, action: &str) -> String {
    format!("saga.{service}.{action}")
}

/// What the types of all commands to `service` begin with.
pub(crate) fn commands_of(service: &str) -> String {
    topic(service, "")
}

/// The type of the replies to the sagas of `service`.
pub(crate) fn reply_topic(service: &str) -> String {
    topic(service, "reply")
}

/// A command as it is sent.
pub(crate) fn command(saga: &str, seq: u32, topic: &str, data: Value, starter: &str) -> CloudEvent {
    let mut event = CloudEvent::new(topic, saga, data);
    event.extensions.extend([
        (SAGA.to_owned(), saga.into()),
        (SEQ.to_owned(), seq.into()),
        (REPLY.to_owned(), reply_topic(starter).into()),
    ]);
    event
}

/// Where the reply to a command goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    saga: String,
    seq: u32,
    topic: String,
}

impl ReplyTo {
    /// Read from a command; `None` where nobody waits for a reply.
    pub(crate) fn of(command: &CloudEvent) -> events::Result<Option<Self>> {
        if !command.extensions.contains_key(REPLY) {
            return Ok(None);
        }
        Ok(Some(Self {
            saga: extension(command, SAGA)?,
            seq: number(command, SEQ)?,
            topic: extension(command, REPLY)?,
        }))
    }

    /// To a step of a saga of `service`.
    pub(crate) fn step(service: &str, saga: &str, seq: u32) -> Self {
        Self {
            saga: saga.to_owned(),
            seq,
            topic: reply_topic(service),
        }
    }

    /// The saga that waits, and the step of it.
    pub(crate) fn waits(&self) -> (&str, u32) {
        (&self.saga, self.seq)
    }

    /// Sends the reply when the transaction commits.
    ///
    /// Its key is not the saga's id itself. A dead letter of that key in the group of the service that started the
    /// saga, be it a command that the service sent to itself, must not hold back the replies of the others.
    pub(crate) fn send(self, tx: &mut Transaction, reply: Reply) -> events::Result<()> {
        let key = format!("{}/reply", self.saga);
        let mut event = CloudEvent::new(self.topic, key, Value::Null);
        event.data = serde_json::to_value(reply).map_err(|source| events::Error::Encode {
            kind: event.kind.clone(),
            id: event.id.clone(),
            source,
        })?;
        let address = [
            (SAGA.to_owned(), self.saga.into()),
            (SEQ.to_owned(), self.seq.into()),
        ];
        event.extensions.extend(address);
        tx.publish_raw(event)
    }
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    Done(Value),
    Refused(Failure),
}

impl Reply {
    /// What the journal is to say of it.
    pub(crate) fn entry(self, seq: u32) -> Entry {
        match self {
            Self::Done(reply) => Entry::Replied { seq, reply },
            Self::Refused(failure) => Entry::Refused { seq, failure },
        }
    }
}

/// A reply as it is received: of which saga, and what its journal is to say.
pub(crate) fn read_reply(event: &CloudEvent) -> events::Result<(String, Entry)> {
    let seq = number(event, SEQ)?;
    let reply: Reply = event.data_as()?;
    Ok((extension(event, SAGA)?, reply.entry(seq)))
}

/// An extension as text: a bus that carries it in a header makes text of numbers too.
fn extension(event: &CloudEvent, name: &str) -> events::Result<String> {
    match event.extensions.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        other => Err(invalid(event, name, &format!("{other:?} is no text"))),
    }
}

fn number(event: &CloudEvent, name: &str) -> events::Result<u32> {
    let text = extension(event, name)?;
    text.parse()
        .map_err(|error| invalid(event, name, &format!("`{text}`: {error}")))
}

fn invalid(event: &CloudEvent, name: &str, why: &str) -> events::Error {
    events::Error::InvalidEnvelope {
        reason: format!("`{name}` of a `{}`: {why}", event.kind),
    }
}
