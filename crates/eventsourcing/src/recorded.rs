//! An event as it is stored.

use std::{borrow::Cow, sync::Arc};

use data::Row;
use env::{RequestContext, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use telemetry::propagation;

use crate::{
    Aggregate, Error, Position, Result, Upcaster, Version,
    archive::ARCHIVED,
    upcast::{current, upcast},
};

/// An event in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its place among all events of the database.
    pub position: Position,
    /// Whose event it is: `order/7`.
    pub stream: String,
    /// Its place in the stream, from 1.
    pub version: Version,
    /// Its type: the name of the variant, as it was when it was stored.
    pub name: String,
    /// The schema version of its type that it is stored in, from 1.
    pub schema: u32,
    /// Its data in JSON, in the form of that version; `None` of a variant that has none.
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

    /// The same as it is stored.
    pub(crate) fn stored() -> Result<Arc<str>> {
        let json = serde_json::to_string(&Self::current());
        let json = json.map_err(|source| Error::Metadata { source })?;
        Ok(json.into())
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

    /// Whom the service was told to [forget](crate::Append::forget), if this is the event that says so: a read model
    /// deletes what it holds of this person.
    pub fn forgotten(&self) -> Option<&str> {
        (self.name == FORGOTTEN).then(|| self.id())
    }

    /// Whether this event says that its stream was [archived](crate::Append::archive).
    pub fn is_archived(&self) -> bool {
        self.name == ARCHIVED
    }

    /// The event in its present form, if it happened to an `A`; `None` if to a thing of another kind, and of the store's
    /// own events.
    ///
    /// # Errors
    /// [`Error::Unreadable`], which names the type that the code does not know; [`Error::SchemaVersion`].
    pub fn read<A: Aggregate>(&self) -> Result<Option<A::Event>> {
        if self.kind() != A::KIND || self.name == ARCHIVED {
            return Ok(None);
        }
        self.decode(A::UPCASTERS).map(Some)
    }

    pub(crate) fn decode<E: DeserializeOwned>(&self, upcasters: &'static [Upcaster]) -> Result<E> {
        let json = match upcast(upcasters, self)? {
            None => tagged(&self.name, self.data.as_deref()),
            Some((name, Value::Null)) if self.data.is_none() => tagged(name, None),
            Some((name, data)) => tagged(name, Some(&data.to_string())),
        };
        serde_json::from_str(&json).map_err(|source| self.unreadable(source))
    }

    pub(crate) fn unreadable(&self, source: serde_json::Error) -> Error {
        Error::Unreadable {
            stream: self.stream.clone(),
            version: self.version,
            name: self.name.clone(),
            schema: self.schema,
            source,
        }
    }

    pub(crate) fn from_row(row: &Row) -> Result<Self> {
        let metadata = row.get::<String>("metadata")?;
        let mut event = Self {
            position: Position::new(row.get("xact")?, row.get("sequence")?),
            stream: row.get("stream")?,
            version: row.get("version")?,
            name: row.get("type")?,
            schema: row.get("schema_version")?,
            data: row.get("data")?,
            metadata: Metadata::default(),
            time: row.get("recorded")?,
        };
        event.metadata =
            serde_json::from_str(&metadata).map_err(|source| event.unreadable(source))?;
        Ok(event)
    }
}

/// The type and the kind of the event that says that a person was forgotten.
pub(crate) const FORGOTTEN: &str = "$forgotten";

/// The form in which serde knows an event.
fn tagged(name: &str, data: Option<&str>) -> String {
    let name = Value::from(name);
    match data {
        Some(data) => format!(r#"{{"type":{name},"data":{data}}}"#),
        None => format!(r#"{{"type":{name}}}"#),
    }
}

/// An event as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) name: String,
    pub(crate) schema: u32,
    pub(crate) data: Option<String>,
}

/// The form in which serde writes an event.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tagged<'a> {
    #[serde(rename = "type", borrow)]
    name: Cow<'a, str>,
    #[serde(default, borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// `Some` also of a `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

pub(crate) fn encode<A: Aggregate>(stream: &str, event: &A::Event) -> Result<Encoded> {
    let json = serde_json::to_string(event).map_err(|source| Error::Encode {
        stream: stream.to_owned(),
        source,
    })?;
    let Ok(Tagged { name, data }) = serde_json::from_str(&json) else {
        return Err(Error::Untagged {
            stream: stream.to_owned(),
        });
    };
    let name = name.into_owned();
    if name.starts_with('$') {
        let stream = stream.to_owned();
        return Err(Error::ReservedType { stream, name });
    }
    Ok(Encoded {
        schema: current(A::UPCASTERS, &name),
        name,
        data: data.map(|data| data.get().to_owned()),
    })
}
