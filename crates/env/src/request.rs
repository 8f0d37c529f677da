//! What a request carries through every call, event and saga that it causes.
//!
//! The context is scoped to a task, like a tracing span: whoever makes a call or publishes an event
//! inside the scope hands it on without naming it, so no handler can forget to.

use std::{future::Future, time::Duration};

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::clock::{self, Instant};

/// One id for everything that one outside request causes; kept or made at the gateway.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// Milliseconds that the caller will still wait.
pub const REQUEST_DEADLINE: HeaderName = HeaderName::from_static("x-request-deadline");
/// The client's name for a request that must take effect once, however often it is sent.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How much the request matters: `low` or `critical`; without it, it is `normal`.
pub const PRIORITY: HeaderName = HeaderName::from_static("x-outrigger-priority");
/// Says of a refusal that there is too much to do: asking again at once, here or elsewhere, would make it worse.
pub const OVERLOADED: HeaderName = HeaderName::from_static("x-outrigger-overloaded");
/// The longest correlation id that is kept, in bytes; a longer or unprintable one is replaced.
pub const CORRELATION_ID_LIMIT: usize = 128;

/// How much a request matters when there is too much to do.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// It can be made later: a batch, a prefetch.
    Low,
    /// What most are. The default.
    #[default]
    Normal,
    /// Without it the business stands still, or the system is blind: a payment, a health check.
    Critical,
}

impl Priority {
    /// Its word: `low`, `normal` or `critical`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::Critical => "critical",
        }
    }
}

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// The id of the outside request that all this is for.
    pub correlation_id: String,
    /// The id of the event or command that directly caused this, if one did.
    pub causation_id: Option<String>,
    /// When the caller stops waiting, if it said so.
    pub deadline: Option<Instant>,
    /// How much all this matters.
    pub priority: Priority,
}

impl RequestContext {
    /// The start of something new: a fresh correlation id, no cause, no deadline.
    pub fn new() -> Self {
        Self::correlated(crate::id().to_string())
    }

    /// A context that belongs to the request of `correlation_id`.
    pub fn correlated(correlation_id: impl Into<String>) -> Self {
        Self {
            correlation_id: correlation_id.into(),
            causation_id: None,
            deadline: None,
            priority: Priority::Normal,
        }
    }

    /// The same context, caused by the message `id`.
    pub fn caused_by(mut self, id: impl Into<String>) -> Self {
        self.causation_id = Some(id.into());
        self
    }

    /// The same context with at most `limit` from now; an earlier deadline stays.
    pub fn within(mut self, limit: Duration) -> Self {
        let deadline = clock::instant() + limit;
        self.deadline = Some(
            self.deadline
                .map_or(deadline, |earlier| earlier.min(deadline)),
        );
        self
    }

    /// The same context for something that matters so much.
    pub fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// How long the caller will still wait; `None` when it set no deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(clock::instant()))
    }

    /// Reads the context from a request's headers; what is missing or malformed is made anew.
    pub fn from_headers(headers: &http::HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let context = text(&CORRELATION_ID)
            .filter(|id| !id.is_empty() && id.len() <= CORRELATION_ID_LIMIT)
            .map_or_else(Self::new, Self::correlated)
            .with_priority(match text(&PRIORITY) {
                Some("low") => Priority::Low,
                Some("critical") => Priority::Critical,
                _ => Priority::Normal,
            });
        match text(&REQUEST_DEADLINE).and_then(|millis| millis.parse::<u32>().ok()) {
            Some(millis) => context.within(Duration::from_millis(millis.into())),
            None => context,
        }
    }

    /// Writes the context into the headers of a call.
    pub fn write_headers(&self, headers: &mut http::HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.correlation_id) {
            headers.insert(CORRELATION_ID, value);
        }
        match self.priority {
            Priority::Normal => headers.remove(PRIORITY),
            priority => headers.insert(PRIORITY, HeaderValue::from_static(priority.name())),
        };
        if let Some(remaining) = self.remaining() {
            let millis = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
            headers.insert(REQUEST_DEADLINE, millis.into());
        }
    }

    /// Runs `future` with this as the [current](Self::current) context.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// When the caller of the running task stops waiting, if it said so: [`current`](Self::current) without a copy.
    pub fn current_deadline() -> Option<Instant> {
        CURRENT.try_with(|context| context.deadline).ok().flatten()
    }

    /// The context of the running task, or a new one where nothing was asked from outside.
    pub fn current() -> Self {
        CURRENT
            .try_with(Clone::clone)
            .unwrap_or_else(|_| Self::new())
    }
}

impl Default for RequestContext {
    fn default() -> Self {
        Self::new()
    }
}
