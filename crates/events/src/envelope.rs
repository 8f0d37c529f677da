//! The envelope of an event: CloudEvents 1.0 in structured JSON.
//!
//! What is guaranteed: reading never panics, whatever came; what was read and is written again is the same
//! event, extensions that nobody here knows included.

use std::{collections::BTreeMap, time::Duration};

use env::Timestamp;
use serde::{
    Deserialize, Serialize, Serializer,
    de::DeserializeOwned,
    ser::{Error as _, SerializeMap},
};
use serde_json::Value;

use crate::{Error, Event, Result, schema};

/// The most bytes that the JSON of an event may have: 1 MiB.
pub const SIZE_LIMIT: usize = 1024 * 1024;
/// The most bytes that its id, type, source or key may have.
pub const NAME_LIMIT: usize = 512;

const SPECIFICATION: &str = "1.0";
const JSON: &str = "application/json";

/// An event as it travels and as it is stored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Wire")]
pub struct CloudEvent {
    /// Unique; who hears of the same id twice heard of the same event twice.
    pub id: String,
    /// The attribute `type`: `order.created`.
    pub kind: String,
    /// The service that published it.
    pub source: String,
    /// When it was published.
    pub time: Option<Timestamp>,
    /// What happened, as JSON; `Null` where there is nothing more to say.
    pub data: Value,
    /// The media type of `data`, where it is not JSON or where that was said.
    pub datacontenttype: Option<String>,
    /// The schema of `data`, which names its version.
    pub dataschema: Option<String>,
    /// Events of one key keep their order; one without a key has no order to keep.
    pub partitionkey: Option<String>,
    /// The request from outside that this is for.
    pub correlationid: Option<String>,
    /// The event or command that directly caused this.
    pub causationid: Option<String>,
    /// The trace that this belongs to (W3C trace context).
    pub traceparent: Option<String>,
    /// From when on it need not be handled any more. What has happened does not expire; what is asked for may.
    pub expirytime: Option<Timestamp>,
    /// Attributes that are not known here; handed on as they came.
    pub extensions: BTreeMap<String, Value>,
}

impl CloudEvent {
    /// A new event of the type `kind` about `key`, with a new id, made now.
    ///
    /// What it does not say of its source, cause and trace is filled in where it is
    /// [published](crate::Publish::publish_raw).
    pub fn new(kind: impl Into<String>, key: impl Into<String>, data: Value) -> Self {
        Self {
            id: env::id().to_string(),
            kind: kind.into(),
            source: String::new(),
            time: Some(env::now()),
            data,
            datacontenttype: Some(JSON.to_owned()),
            dataschema: None,
            partitionkey: Some(key.into()),
            correlationid: None,
            causationid: None,
            traceparent: None,
            expirytime: None,
            extensions: BTreeMap::new(),
        }
    }

    /// The envelope of `event`.
    ///
    /// # Errors
    /// [`Error::Encode`].
    pub fn of<E: Event>(event: &E) -> Result<Self> {
        let mut envelope = Self::new(E::TYPE, event.key(), Value::Null);
        envelope.dataschema = Some(schema::uri::<E>());
        envelope.data = serde_json::to_value(event).map_err(|source| Error::Encode {
            kind: envelope.kind.clone(),
            id: envelope.id.clone(),
            source,
        })?;
        Ok(envelope)
    }

    /// Reads the event out of its envelope.
    ///
    /// An event that names no version of a schema of ours (another producer's) is read as the version that
    /// `E` has.
    ///
    /// # Errors
    /// [`Error::WrongType`], [`Error::UnknownVersion`], [`Error::Undecodable`].
    pub fn decode<E: Event>(&self) -> Result<E> {
        if self.kind != E::TYPE {
            return Err(Error::WrongType {
                id: self.id.clone(),
                actual: self.kind.clone(),
                expected: E::TYPE,
            });
        }
        match self.version() {
            Some(version) if version != E::VERSION => Err(Error::UnknownVersion {
                kind: self.kind.clone(),
                id: self.id.clone(),
                version,
                known: E::VERSION,
            }),
            _ => self.data_as(),
        }
    }

    /// Reads the data alone, whatever the type and the version of the event are.
    ///
    /// # Errors
    /// [`Error::Undecodable`].
    pub fn data_as<T: DeserializeOwned>(&self) -> Result<T> {
        serde_path_to_error::deserialize(&self.data).map_err(|error| Error::Undecodable {
            kind: self.kind.clone(),
            id: self.id.clone(),
            path: error.path().to_string(),
            source: error.into_inner(),
        })
    }

    /// The version of the schema, where the event names one of ours.
    pub fn version(&self) -> Option<u32> {
        let schema = self.dataschema.as_deref()?.strip_prefix(schema::EVENT)?;
        schema.rsplit_once(':')?.1.parse().ok()
    }

    /// What keeps its order: the partition key, or the id of an event that has none.
    pub fn key(&self) -> &str {
        self.partitionkey.as_deref().unwrap_or(&self.id)
    }

    /// The same, which expires when `limit` from now is over.
    #[must_use]
    pub fn expiring_in(mut self, limit: Duration) -> Self {
        let expiry = env::now().saturating_add(limit);
        self.expirytime = Some(expiry.unwrap_or(Timestamp::MAX));
        self
    }

    /// How long it is still worth handling: zero once it has expired, `None` where it never does.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.expirytime?.duration_since(env::now());
        Some(Duration::try_from(left).unwrap_or_default())
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.time_left().is_some_and(|left| left.is_zero())
    }

    /// The event in structured JSON, to be sent.
    ///
    /// # Errors
    /// [`Error::InvalidEnvelope`], [`Error::Encode`], [`Error::TooLarge`].
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let json = self.to_stored()?.into_bytes();
        if json.len() > SIZE_LIMIT {
            return Err(Error::TooLarge {
                kind: self.kind.clone(),
                id: self.id.clone(),
                size: json.len(),
                limit: SIZE_LIMIT,
            });
        }
        Ok(json)
    }

    /// The same, to be kept: however large it is. Who sent it may have other limits.
    pub(crate) fn to_stored(&self) -> Result<String> {
        self.check()?;
        serde_json::to_string(self).map_err(|source| Error::Encode {
            kind: self.kind.clone(),
            id: self.id.clone(),
            source,
        })
    }

    /// Reads structured JSON.
    ///
    /// # Errors
    /// [`Error::InvalidEnvelope`], for whatever is no CloudEvent.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| Error::InvalidEnvelope {
            reason: error.to_string(),
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let key = self.partitionkey.as_deref();
        for (name, value) in [
            ("id", Some(self.id.as_str())),
            ("type", Some(&self.kind)),
            ("source", Some(&self.source)),
            ("partitionkey", key),
        ] {
            let length = value.map_or(1, str::len);
            if length == 0 || length > NAME_LIMIT {
                return Err(Error::InvalidEnvelope {
                    reason: format!("`{name}` has {length} bytes, 1 to {NAME_LIMIT} are allowed"),
                });
            }
            if value.is_some_and(|value| value.contains('\0')) {
                return Err(Error::InvalidEnvelope {
                    reason: format!("`{name}` has a NUL character, which databases do not keep"),
                });
            }
        }
        Ok(())
    }
}

impl Serialize for CloudEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", SPECIFICATION)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("type", &self.kind)?;
        for (name, time) in [("time", &self.time), ("expirytime", &self.expirytime)] {
            if let Some(time) = time {
                map.serialize_entry(name, time)?;
            }
        }
        for (name, value) in [
            ("datacontenttype", &self.datacontenttype),
            ("dataschema", &self.dataschema),
            ("partitionkey", &self.partitionkey),
            ("correlationid", &self.correlationid),
            ("causationid", &self.causationid),
            ("traceparent", &self.traceparent),
        ] {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        if !self.data.is_null() {
            map.serialize_entry("data", &self.data)?;
        }
        for (name, value) in &self.extensions {
            if ATTRIBUTES.contains(&name.as_str()) {
                let message = format!("`{name}` is an attribute, it cannot be an extension");
                return Err(S::Error::custom(message));
            }
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// What an extension cannot be called.
const ATTRIBUTES: [&str; 13] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "datacontenttype",
    "dataschema",
    "partitionkey",
    "correlationid",
    "causationid",
    "traceparent",
    "expirytime",
    "data",
];

/// The JSON of an event, before its values are checked.
#[derive(Deserialize)]
struct Wire {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    time: Option<Timestamp>,
    datacontenttype: Option<String>,
    dataschema: Option<String>,
    partitionkey: Option<String>,
    correlationid: Option<String>,
    causationid: Option<String>,
    traceparent: Option<String>,
    expirytime: Option<Timestamp>,
    #[serde(default)]
    data: Value,
    #[serde(flatten)]
    extensions: BTreeMap<String, Value>,
}

impl TryFrom<Wire> for CloudEvent {
    type Error = Error;

    fn try_from(wire: Wire) -> Result<Self> {
        if wire.specversion != SPECIFICATION {
            let found = wire.specversion;
            return Err(Error::InvalidEnvelope {
                reason: format!("`specversion` is `{found}`, only `{SPECIFICATION}` is read"),
            });
        }
        let event = Self {
            id: wire.id,
            kind: wire.kind,
            source: wire.source,
            time: wire.time,
            data: wire.data,
            datacontenttype: wire.datacontenttype,
            dataschema: wire.dataschema,
            partitionkey: wire.partitionkey,
            correlationid: wire.correlationid,
            causationid: wire.causationid,
            traceparent: wire.traceparent,
            expirytime: wire.expirytime,
            extensions: wire.extensions,
        };
        event.check()?;
        Ok(event)
    }
}
