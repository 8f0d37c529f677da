//! Lists in pages, the newest first.
//!
//! A page ends with the cursor of the next one. A cursor is a place between two rows, not a number of rows
//! to skip: what is added meanwhile neither repeats nor hides a row.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use outrigger::env::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Whole;

/// How many rows a page has when the client does not say.
pub const DEFAULT_LIMIT: u32 = 20;
/// The most rows of a page.
pub const MAX_LIMIT: u32 = 100;

/// The part of a query string that asks for a page.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct PageRequest {
    #[serde(default, deserialize_with = "limit")]
    limit: Option<Whole<1, MAX_LIMIT>>,
    cursor: Option<Cursor>,
}

impl PageRequest {
    /// How many rows to read: one more than asked for, which tells whether there is a next page.
    pub fn fetch(&self) -> i64 {
        i64::from(self.limit()) + 1
    }

    /// After which row to begin.
    pub fn after(&self) -> Cursor {
        self.cursor.clone().unwrap_or_else(Cursor::start)
    }

    /// Makes a page of the `rows` that were [fetched](Self::fetch); `place` is where in the list a row is.
    pub fn page<T>(&self, mut rows: Vec<T>, place: impl Fn(&T) -> Cursor) -> Page<T> {
        let limit = usize::try_from(self.limit()).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(place);
        Page { items: rows, next }
    }

    fn limit(&self) -> u32 {
        self.limit.map_or(DEFAULT_LIMIT, Whole::get)
    }
}

/// Reads the text of a query string, in which nothing else can stand.
fn limit<'de, D: Deserializer<'de>, const MIN: u32, const MAX: u32>(
    deserializer: D,
) -> Result<Option<Whole<MIN, MAX>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.parse().ok().and_then(Whole::new) {
        Some(limit) => Ok(Some(limit)),
        None => Err(de::Error::custom(format_args!(
            "a page has from {MIN} to {MAX} rows"
        ))),
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows, the newest first.
    pub items: Vec<T>,
    /// The cursor of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// A place in a list that is ordered by time and id. Clients get it as opaque text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// When the row before this place was made, in milliseconds of Unix time.
    pub at_ms: i64,
    /// The id of the row before this place.
    pub id: String,
}

impl Cursor {
    /// The place after the row that was made `at` and has `id`.
    pub fn after(at: Timestamp, id: &str) -> Self {
        Self {
            at_ms: at.as_millisecond(),
            id: id.to_owned(),
        }
    }

    /// The beginning of a list: later than every row.
    pub fn start() -> Self {
        Self {
            at_ms: i64::MAX,
            id: String::new(),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (at_ms, id) = text.split_once(' ')?;
        Some(Self {
            at_ms: at_ms.parse().ok()?,
            id: id.to_owned(),
        })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = URL_SAFE_NO_PAD.encode(format!("{} {}", self.at_ms, self.id));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::decode(&text)
            .ok_or_else(|| de::Error::custom("the cursor is not one that this list has given"))
    }
}
