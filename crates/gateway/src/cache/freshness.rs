//! What may be stored, and for how long it may be given again. Pure: headers and instants in, answers out.

use std::time::Duration;

use env::Instant;
use http::{HeaderMap, HeaderName, StatusCode, header};

use super::control::Control;

/// What a request to GET lets the cache do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Answer with what is stored, if that is fresh enough.
    Reuse(Reuse),
    /// Ask the service, and store what it answers.
    Refresh,
    /// Ask the service, and keep out of it.
    Bypass(Bypass),
}

/// How old an answer the client takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reuse {
    max_age: Option<Duration>,
}

/// Why the cache keeps out of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bypass {
    /// The client says `no-store`.
    Asked,
    /// The request says who asks, so the answer may be for that one alone.
    Personal,
    /// The request is for a part, or on a condition, which the service decides.
    Conditional,
}

const PERSONAL: [HeaderName; 2] = [header::AUTHORIZATION, header::COOKIE];
const CONDITIONAL: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

impl Reuse {
    /// Whether the client takes an answer of that age.
    pub fn accepts(self, age: Duration) -> bool {
        self.max_age.is_none_or(|max_age| age <= max_age)
    }
}

/// What the headers of a request to GET let the cache do.
pub fn lookup(headers: &HeaderMap) -> Lookup {
    let control = Control::of(headers);
    let has = |names: &[HeaderName]| names.iter().any(|name| headers.contains_key(name));
    if has(&PERSONAL) {
        Lookup::Bypass(Bypass::Personal)
    } else if control.no_store {
        Lookup::Bypass(Bypass::Asked)
    } else if has(&CONDITIONAL) {
        Lookup::Bypass(Bypass::Conditional)
    } else if control.no_cache {
        Lookup::Refresh
    } else {
        Lookup::Reuse(Reuse {
            max_age: control.max_age,
        })
    }
}

/// How long a stored answer may be given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    received: Instant,
    age_then: Duration,
    lifetime: Duration,
}

impl Freshness {
    /// The freshness of an answer to GET that was received at `now`; `None` when it must not be stored.
    ///
    /// The answer's own `s-maxage`, `max-age` or `expires`, in this order, shortens `limit` and never
    /// extends it; its `age` counts as time already spent.
    pub fn of(
        status: StatusCode,
        headers: &HeaderMap,
        limit: Duration,
        now: Instant,
    ) -> Option<Self> {
        let control = Control::of(headers);
        let forbidden = control.no_store || control.no_cache || control.private;
        let personal = headers.contains_key(header::SET_COOKIE);
        if status != StatusCode::OK || forbidden || personal || varies_by_anything(headers) {
            return None;
        }
        let said = control
            .s_maxage
            .or(control.max_age)
            .or_else(|| until_expiry(headers));
        let fresh = Self {
            received: now,
            age_then: age_said(headers),
            lifetime: said.map_or(limit, |said| said.min(limit)),
        };
        fresh.left(now).map(|_| fresh)
    }

    /// The age of the answer (RFC 9111, section 4.2.3).
    pub fn age(&self, now: Instant) -> Duration {
        self.age_then + now.saturating_duration_since(self.received)
    }

    /// How long it is still fresh; `None` when it is stale.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.lifetime.checked_sub(self.age(now))?;
        (!left.is_zero()).then_some(left)
    }
}

/// The headers that an answer varies by, each once and in order.
pub(super) fn varies_by(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names: Vec<HeaderName> = vary(headers).filter_map(|name| name.parse().ok()).collect();
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names
}

/// `*`, or what is no header's name at all: nobody can tell which requests are alike.
fn varies_by_anything(headers: &HeaderMap) -> bool {
    let unreadable = headers
        .get_all(header::VARY)
        .iter()
        .any(|value| value.to_str().is_err());
    unreadable || vary(headers).any(|name| name == "*" || name.parse::<HeaderName>().is_err())
}

fn vary(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::VARY)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

fn age_said(headers: &HeaderMap) -> Duration {
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok());
    Duration::from_secs(
        age.and_then(|age| age.trim().parse::<u32>().ok())
            .unwrap_or(0)
            .into(),
    )
}

/// From `date` to `expires`. An `expires` that is no date, such as `0`, is in the past (RFC 9111, 5.3).
fn until_expiry(headers: &HeaderMap) -> Option<Duration> {
    let date = |name| {
        let text = headers.get(name)?.to_str().ok()?;
        let date = jiff::fmt::rfc2822::DateTimeParser::new();
        date.parse_timestamp(text.trim()).ok()
    };
    headers.get(header::EXPIRES)?;
    let sent = date(header::DATE).unwrap_or_else(env::now);
    let length = date(header::EXPIRES).map(|expires| expires.duration_since(sent));
    let length = length.and_then(|length| Duration::try_from(length).ok());
    Some(length.unwrap_or_default())
}
