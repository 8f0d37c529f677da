//! Personal data in events that never change: encrypted with a key of the person, and unreadable once that is deleted.
//!
//! An event marks what is personal with [`Personal`]. It is stored encrypted (AES-256-GCM) with a key that belongs to the
//! person, in a table beside the events, and read in the clear for as long as the key is there.
//! [`Append::forget`](crate::Append::forget) deletes it. The events stay, with their versions and positions; what they say of the person is
//! gone, in every copy of the events, wherever it lies. Decision 0012 says why, and what it does not reach:
//!
//! - read models and whatever else a service writes in the clear: a projection is told ([`Recorded::forgotten`]) and
//!   deletes its own;
//! - published events: do not put personal data into them, but the id by which to ask for it;
//! - backups that hold the key: they forget when they expire.
//!
//! ```
//! # use outrigger_eventsourcing as eventsourcing;
//! use eventsourcing::Personal;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! #[serde(tag = "type", content = "data")]
//! enum AccountEvent {
//!     Opened { user_id: String, owner: Personal<String> },
//! }
//!
//! let opened = AccountEvent::Opened {
//!     user_id: "7".to_owned(),
//!     owner: Personal::of("7", "Ada".to_owned()),
//! };
//! # let AccountEvent::Opened { owner, .. } = opened;
//! assert_eq!(owner.get().map_or("somebody", String::as_str), "Ada");
//! ```

mod keys;

use std::collections::{BTreeMap, BTreeSet};

use data::{Transaction, params};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use self::keys::{key_of, keys};
use crate::{Recorded, Result, load::Source};

pub(crate) use self::keys::{forget, hold};

/// The member that marks personal data in JSON.
const MARK: &str = "$personal";

/// Something personal, of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Personal<T> {
    subject: String,
    value: Option<T>,
}

impl<T> Personal<T> {
    /// `value` says something of the person `subject`: an id that means nothing without the person's record.
    pub fn of(subject: impl Into<String>, value: T) -> Self {
        Self {
            subject: subject.into(),
            value: Some(value),
        }
    }

    /// Whom it is about. This is not encrypted.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What it says; `None` when the person was forgotten.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

#[derive(Serialize, Deserialize)]
struct Marked<B> {
    #[serde(rename = "$personal")]
    personal: B,
}

#[derive(Serialize)]
struct Open<'a, T> {
    subject: &'a str,
    value: &'a Option<T>,
}

#[derive(Deserialize)]
struct Opened<T> {
    subject: String,
    value: Option<T>,
}

impl<T: Serialize> Serialize for Personal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { subject, value } = self;
        let personal = Open { subject, value };
        Marked { personal }.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Personal<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Opened { subject, value } = Marked::deserialize(deserializer)?.personal;
        Ok(Self { subject, value })
    }
}

/// Encrypts what is personal in `json`, which is to be stored for `stream`.
pub(crate) async fn seal(tx: &mut Transaction, stream: &str, json: &mut String) -> Result<()> {
    let Some(mut value) = marked(json) else {
        return Ok(());
    };
    let mut subjects = BTreeSet::new();
    visit(&mut value, &mut |personal| {
        if says_something(personal) {
            subjects.extend(text(personal, "subject"));
        }
    });
    let mut keys = BTreeMap::new();
    for subject in subjects {
        let key = key_of(tx, &subject).await?;
        let known = "INSERT INTO outrigger_personal_streams (subject, stream) VALUES ($1, $2)
                     ON CONFLICT DO NOTHING";
        tx.execute(known, params![subject.as_str(), stream]).await?;
        keys.insert(subject, key);
    }
    visit(&mut value, &mut |personal| {
        let key = text(personal, "subject").and_then(|subject| keys.get(&subject));
        if let Some(key) = key.filter(|_| says_something(personal)) {
            *personal = key.seal(&personal["value"]);
        }
    });
    *json = value.to_string();
    Ok(())
}

/// Decrypts what is personal in `events`, as far as the keys are there.
pub(crate) async fn open(source: &mut impl Source, events: &mut [Recorded]) -> Result<()> {
    let data = events.iter_mut().filter_map(|event| event.data.as_mut());
    open_all(source, data.collect()).await
}

/// The same for any JSON.
pub(crate) async fn open_all(source: &mut impl Source, texts: Vec<&mut String>) -> Result<()> {
    let mut sealed: Vec<(&mut String, Value)> = Vec::new();
    let mut ids = BTreeSet::new();
    for json in texts {
        if let Some(mut value) = marked(json) {
            visit(&mut value, &mut |personal| {
                ids.extend(text(personal, "key"));
            });
            sealed.push((json, value));
        }
    }
    if sealed.is_empty() {
        return Ok(());
    }
    let keys = keys(source, ids).await?;
    for (json, mut value) in sealed {
        visit(&mut value, &mut |personal| {
            let plain = text(personal, "key")
                .and_then(|id| keys.get(&id))
                .and_then(|key| key.open(personal));
            *personal = json!({ "subject": personal["subject"], "value": plain });
        });
        *json = value.to_string();
    }
    Ok(())
}

/// The parsed form of a text that may hold something personal.
fn marked(json: &str) -> Option<Value> {
    // Most events hold nothing personal, and are not parsed.
    json.contains(r#""$personal""#)
        .then(|| serde_json::from_str(json).ok())
        .flatten()
}

/// Shows everything that is marked in `value`, at any depth, to `act`.
fn visit(value: &mut Value, act: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, act)),
        Value::Object(members) => match members.get_mut(MARK) {
            Some(personal) if personal["subject"].is_string() => act(personal),
            _ => members.values_mut().for_each(|member| visit(member, act)),
        },
        _ => {}
    }
}

/// Whether there is something to encrypt: not of who was forgotten, nor of what is encrypted already.
fn says_something(personal: &Value) -> bool {
    !personal["value"].is_null()
}

fn text(personal: &Value, member: &str) -> Option<String> {
    personal[member].as_str().map(str::to_owned)
}
