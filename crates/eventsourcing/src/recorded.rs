//! An event as it is stored.

use data::Row;
use env::{RequestContext, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use telemetry::propagation;

use crate::{Aggregate, Error, Result, Version};

/// An event in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its place among all events of the database, from 1.
    pub position: u64,
    /// Whose event it is: `order/7`.
    pub stream: String,
    /// Its place in the stream, from 1.
    pub version: Version,
    /// Its type: the name of the variant.
    pub name: String,
    /// Its data in JSON; `None` of a variant that has none.
    pub data: Option<String>,
    /// Where it came from.
    pub metadata: Metadata,
    /// When it was recorded.
    pub time: Timestamp,
}

/// What an event is part of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The request from outside that it is for.
    pub correlation_id: Option<String>,
    /// The event or command that directly caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// The trace that it belongs to (W3C trace context).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Metadata {
    /// Of what is being done right now.
    pub(crate) fn current() -> Self {
        let context = RequestContext::current();
        Self {
            correlation_id: Some(context.correlation_id),
            causation_id: context.causation_id,
            traceparent: propagation::traceparent(),
        }
    }
}

impl Recorded {
    /// What kind of thing it happened to: `order`.
    pub fn kind(&self) -> &str {
        self.stream.split_once('/').map_or("", |(kind, _)| kind)
    }

    /// The id of the thing that it happened to: `7`.
    pub fn id(&self) -> &str {
        self.stream.split_once('/').map_or("", |(_, id)| id)
    }

    /// The event, if it happened to an `A`; `None` if to a thing of another kind.
    ///
    /// # Errors
    /// [`Error::Unreadable`], which names the type that the code does not know.
    pub fn read<A: Aggregate>(&self) -> Result<Option<A::Event>> {
        if self.kind() != A::KIND {
            return Ok(None);
        }
        self.decode().map(Some)
    }

    pub(crate) fn decode<E: DeserializeOwned>(&self) -> Result<E> {
        let name = Value::from(self.name.as_str());
        let json = match &self.data {
            Some(data) => format!(r#"{{"type":{name},"data":{data}}}"#),
            None => format!(r#"{{"type":{name}}}"#),
        };
        serde_json::from_str(&json).map_err(|source| Error::Unreadable {
            stream: self.stream.clone(),
            version: self.version,
            name: self.name.clone(),
            source,
        })
    }

    pub(crate) fn from_row(row: &Row) -> Result<Self> {
        let (stream, version) = (row.get("stream")?, row.get("version")?);
        let name = row.get("type")?;
        let metadata = row.get::<String>("metadata")?;
        let metadata = match serde_json::from_str(&metadata) {
            Ok(metadata) => metadata,
            Err(source) => {
                return Err(Error::Unreadable {
                    stream,
                    version,
                    name,
                    source,
                });
            }
        };
        Ok(Self {
            position: row.get("position")?,
            stream,
            version,
            name,
            data: row.get("data")?,
            metadata,
            time: row.get("recorded")?,
        })
    }
}

/// An event's type and data, as they are stored.
pub(crate) fn encode<E: Serialize>(stream: &str, event: &E) -> Result<(String, Option<String>)> {
    let value = serde_json::to_value(event).map_err(|source| Error::Encode {
        stream: stream.to_owned(),
        source,
    })?;
    let untagged = || Error::Untagged {
        stream: stream.to_owned(),
    };
    let Value::Object(mut members) = value else {
        return Err(untagged());
    };
    let data = members.remove("data").map(|data| data.to_string());
    match members.remove("type") {
        Some(Value::String(name)) if members.is_empty() => Ok((name, data)),
        _ => Err(untagged()),
    }
}
