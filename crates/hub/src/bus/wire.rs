//! What is sent and answered, and what is refused of it. `openapi.json` describes the same.

use std::time::Duration;

use bytes::Bytes;
use env::{Problem, Timestamp};
use events::{CloudEvent, Delivery, embedded::GroupStatus};
use serde::{Deserialize, Serialize};

use crate::input;

/// The most events in a batch.
pub(super) const BATCH: usize = 1024;
/// The most types that a member names at once.
const TYPES: usize = 256;
/// The most leases that a request names.
const LEASES: usize = 4096;
/// The longest that a pull waits.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How many bytes of events an answer has at most, but for one event that has more alone.
const ANSWER: usize = 4 * 1024 * 1024;

/// Where an event on its way to a member says what it is settled by, and how often it was delivered.
const LEASE: &str = "deliverylease";
const ATTEMPT: &str = "deliveryattempt";

/// The media types of CloudEvents in structured JSON: a batch, and one.
pub(super) const MANY: &str = "application/cloudevents-batch+json";
const ONE: &str = "application/cloudevents+json";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Join {
    pub(super) types: Vec<String>,
    lease_ms: Option<u64>,
}

impl Join {
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let join: Self = input::json(body)?;
        bound("types", join.types.len(), TYPES)?;
        Ok(join)
    }

    pub(super) fn lease(&self) -> Option<Duration> {
        self.lease_ms.map(Duration::from_millis)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Joined {
    pub(super) member: String,
    pub(super) lease_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Types {
    pub(super) types: Vec<String>,
}

impl Types {
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let types: Self = input::json(body)?;
        bound("types", types.types.len(), TYPES)?;
        Ok(types)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct Pull {
    limit: Option<usize>,
    max_bytes: Option<usize>,
    wait_ms: Option<u64>,
    holds: Vec<String>,
}

impl Pull {
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let pull: Self = input::json(body)?;
        bound("holds", pull.holds.len(), LEASES)?;
        Ok(pull)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(64).clamp(1, BATCH)
    }

    pub(super) fn bytes(&self) -> usize {
        self.max_bytes.unwrap_or(ANSWER).min(ANSWER)
    }

    pub(super) fn wait(&self) -> Duration {
        let asked = self.wait_ms.map(Duration::from_millis);
        asked.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
    }

    pub(super) fn holds(&self) -> Vec<i64> {
        leases(&self.holds)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Heartbeat {
    holds: Option<Vec<String>>,
}

impl Heartbeat {
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let heartbeat: Self = input::json(body)?;
        bound("holds", heartbeat.holds.iter().flatten().count(), LEASES)?;
        Ok(heartbeat)
    }

    pub(super) fn holds(&self) -> Option<Vec<i64>> {
        self.holds.as_deref().map(leases)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settle {
    pub(super) done: Vec<String>,
    pub(super) retry: Vec<PutOff>,
    pub(super) untouched: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct PutOff {
    pub(super) lease: String,
    pub(super) after_ms: u64,
}

impl Settle {
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let settle: Self = input::json(body)?;
        bound("(body)", settle.leases().count(), LEASES)?;
        Ok(settle)
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = &String> {
        let put_off = self.retry.iter().map(|it| &it.lease);
        self.done.iter().chain(put_off).chain(&self.untouched)
    }
}

#[derive(Serialize)]
pub(super) struct Settled {
    /// What the member does not hold (any more): it was settled before, or goes to others.
    pub(super) lost: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rewind {
    pub(super) since: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Begun {
    pub(super) rewind: String,
    pub(super) lease_ms: u64,
}

#[derive(Serialize)]
pub(super) struct Groups {
    pub(super) groups: Vec<Listed>,
}

#[derive(Serialize)]
pub(super) struct Listed {
    #[serde(flatten)]
    pub(super) status: GroupStatus,
    pub(super) members: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retention {
    pub(super) retention_ms: u64,
}

/// The events in `body`, which the header says is of the media type `kind`.
pub(super) fn events(kind: &str, body: &[u8]) -> Result<Vec<CloudEvent>, Problem> {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let mut events: Vec<CloudEvent> = match kind {
        MANY => input::json(body)?,
        ONE => vec![input::json(body)?],
        _ => {
            let detail = format!("Events come as `{MANY}`, or one as `{ONE}`.");
            let status = axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::new(status, "unsupported-media-type", detail));
        }
    };
    bound("(body)", events.len(), BATCH)?;
    for event in &mut events {
        // Who publishes what it was given sends these along.
        event.extensions.remove(LEASE);
        event.extensions.remove(ATTEMPT);
    }
    Ok(events)
}

/// A batch of what was taken, as JSON.
pub(super) fn deliveries(taken: &[Delivery]) -> Result<Bytes, serde_json::Error> {
    let on_their_way: Vec<CloudEvent> = taken
        .iter()
        .map(|delivery| {
            let mut event = CloudEvent::clone(&delivery.event);
            let extensions = &mut event.extensions;
            extensions.insert(LEASE.to_owned(), delivery.lease.to_string().into());
            extensions.insert(ATTEMPT.to_owned(), delivery.attempt.into());
            event
        })
        .collect();
    serde_json::to_vec(&on_their_way).map(Bytes::from)
}

/// What a member calls a lease, as a number; one that can be none is none that it holds.
pub(super) fn lease(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn leases(texts: &[String]) -> Vec<i64> {
    texts.iter().filter_map(|text| lease(text)).collect()
}

pub(super) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

fn bound(field: &str, count: usize, limit: usize) -> Result<(), Problem> {
    if count <= limit {
        return Ok(());
    }
    let detail = format!("There are {count}; at most {limit} are taken at once.");
    Err(Problem::invalid_field(field, detail))
}
