//! What a service does when something happens: its handlers, by the type of event.

use std::{future::Future, sync::Arc};

use data::Transaction;
use env::BoxError;
use futures::future::BoxFuture;

use crate::{CloudEvent, Event, pattern};

/// Handles an `E` in a transaction: any `async fn(&mut Transaction, E) -> Result<(), BoxError>`.
///
/// It is a trait of its own because the future borrows the transaction, which a bound of `Fn` cannot say.
pub trait Handler<'a, E>: Send + Sync + 'static {
    /// What the handler does.
    type Future: Future<Output = Result<(), BoxError>> + Send + 'a;

    /// Starts it.
    fn handle(&self, tx: &'a mut Transaction, event: E) -> Self::Future;
}

impl<'a, E, F, Fut> Handler<'a, E> for F
where
    F: Fn(&'a mut Transaction, E) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'a,
{
    type Future = Fut;

    fn handle(&self, tx: &'a mut Transaction, event: E) -> Fut {
        self(tx, event)
    }
}

/// Handles an `E` with what was prepared for it before the transaction:
/// any `async fn(&mut Transaction, E, P) -> Result<(), BoxError>`.
pub trait PreparedHandler<'a, E, P>: Send + Sync + 'static {
    /// What the handler does.
    type Future: Future<Output = Result<(), BoxError>> + Send + 'a;

    /// Starts it.
    fn handle(&self, tx: &'a mut Transaction, event: E, prepared: P) -> Self::Future;
}

impl<'a, E, P, F, Fut> PreparedHandler<'a, E, P> for F
where
    F: Fn(&'a mut Transaction, E, P) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'a,
{
    type Future = Fut;

    fn handle(&self, tx: &'a mut Transaction, event: E, prepared: P) -> Fut {
        self(tx, event, prepared)
    }
}

/// The handlers of one group.
///
/// An event goes to every handler whose type or pattern it matches. Each has its own transaction and its own
/// entry in the inbox, under `group/pattern`: where one fails, what another did stays, and only the one that failed is tried again.
/// (The second handler of a pattern is `group/pattern#2`, and so on.)
///
/// While an event gets a new version, add a handler for the new one beside the old one's, behind it so that the names
/// in the inbox stay: each gets the events of its version.
///
/// ```
/// # use outrigger_events as events;
/// use data::Transaction;
/// use events::{CloudEvent, Event, Handlers, JsonSchema, schemars};
///
/// #[derive(serde::Serialize, serde::Deserialize, JsonSchema, Event)]
/// #[event("user.updated", version = 1, key = user_id, crate = events)]
/// struct UserUpdated { user_id: String, name: String }
///
/// async fn renamed(tx: &mut Transaction, event: UserUpdated) -> Result<(), env::BoxError> {
///     let rename = "UPDATE customers SET name = $2 WHERE id = $1";
///     tx.execute(rename, data::params![event.user_id, event.name]).await?;
///     Ok(())
/// }
/// async fn logged(_: &mut Transaction, event: CloudEvent) -> Result<(), env::BoxError> {
///     println!("{} of {}", event.kind, event.source);
///     Ok(())
/// }
///
/// let handlers = Handlers::new().on::<UserUpdated, _>(renamed).on_raw("order.*", logged);
/// assert_eq!(handlers.types(), ["user.updated", "order.*"]);
/// ```
#[derive(Clone, Default)]
pub struct Handlers {
    entries: Vec<Entry>,
    /// Patterns that are handled no more.
    left_out: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pattern: Arc<str>,
    /// The version of the event that it reads; any where it takes the event as it came.
    version: Option<u32>,
    /// What the inbox knows the handler by, within its group.
    pub(crate) name: Arc<str>,
    /// Whether later events of a key wait behind one that it could not handle.
    pub(crate) holds: bool,
    /// Whether it does something outside of its transaction first, which may take long.
    pub(crate) prepares: bool,
    pub(crate) start: Arc<Start>,
    /// What is done with an event that has expired; otherwise that is recorded.
    pub(crate) expired: Option<Arc<Expired>>,
}

/// What is to be done with events of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stance {
    /// There is a handler.
    Handled,
    /// Nothing, for good.
    LeftOut,
    /// Another version of the service may handle it.
    Unknown,
}

impl Entry {
    /// Whether it reads the very version that the event has.
    pub(crate) fn is_for_version_of(&self, event: &CloudEvent) -> bool {
        self.version.is_some() && self.version == event.version()
    }
}

/// Reads the event and prepares; what comes of it is to be done in the transaction.
pub(crate) type Start =
    dyn Fn(CloudEvent) -> BoxFuture<'static, Result<Box<dyn Effect>, BoxError>> + Send + Sync;

/// What is to be done with an event that has expired.
pub(crate) type Expired = dyn Fn(CloudEvent) -> Box<dyn Effect> + Send + Sync;

/// What is left to do once a handler is prepared.
pub(crate) trait Effect: Send {
    fn apply<'a>(self: Box<Self>, tx: &'a mut Transaction) -> BoxFuture<'a, Result<(), BoxError>>;
}

impl Handlers {
    /// No handlers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles every `E`.
    #[must_use]
    pub fn on<E, H>(self, handler: H) -> Self
    where
        E: Event,
        H: for<'a> Handler<'a, E>,
    {
        let handler = Arc::new(handler);
        self.add(E::TYPE, Some(E::VERSION), move |event| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let event = event.decode::<E>()?;
                Ok(Box::new(Plain { handler, event }) as Box<dyn Effect>)
            })
        })
    }

    /// Handles every event whose type matches `pattern`, exact or `order.*`, as it came.
    #[must_use]
    pub fn on_raw<H>(self, pattern: &str, handler: H) -> Self
    where
        H: for<'a> Handler<'a, CloudEvent>,
    {
        let handler = Arc::new(handler);
        self.add(pattern, None, move |event| {
            let handler = Arc::clone(&handler);
            Box::pin(async move { Ok(Box::new(Plain { handler, event }) as Box<dyn Effect>) })
        })
    }

    /// Handles every `E` in two steps: `prepare` with the event and its id, then `handler` in the transaction
    /// with what came of that.
    ///
    /// Calls to the outside belong into `prepare`, for a transaction awaits nothing but its own statements. It
    /// may run more than once for an event, even after the event was handled: make it idempotent by the id.
    #[must_use]
    pub fn on_prepared<E, P, F, Fut, H>(self, prepare: F, handler: H) -> Self
    where
        E: Event + Clone,
        P: Send + 'static,
        F: Fn(E, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<P, BoxError>> + Send + 'static,
        H: for<'a> PreparedHandler<'a, E, P>,
    {
        let (prepare, handler) = (Arc::new(prepare), Arc::new(handler));
        self.add(E::TYPE, Some(E::VERSION), move |envelope| {
            let (prepare, handler) = (Arc::clone(&prepare), Arc::clone(&handler));
            Box::pin(async move {
                let event = envelope.decode::<E>()?;
                let prepared = prepare(event.clone(), envelope.id).await?;
                Ok(Box::new(Prepared {
                    handler,
                    event,
                    prepared,
                }) as Box<dyn Effect>)
            })
        })
        .with_preparation()
    }

    /// As [`on_prepared`](Self::on_prepared), for every event whose type matches `pattern`, as it came.
    #[must_use]
    pub fn on_raw_prepared<P, F, Fut, H>(self, pattern: &str, prepare: F, handler: H) -> Self
    where
        P: Send + 'static,
        F: Fn(CloudEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<P, BoxError>> + Send + 'static,
        H: for<'a> PreparedHandler<'a, CloudEvent, P>,
    {
        let (prepare, handler) = (Arc::new(prepare), Arc::new(handler));
        self.add(pattern, None, move |event| {
            let (prepare, handler) = (Arc::clone(&prepare), Arc::clone(&handler));
            Box::pin(async move {
                let prepared = prepare(event.clone()).await?;
                Ok(Box::new(Prepared {
                    handler,
                    event,
                    prepared,
                }) as Box<dyn Effect>)
            })
        })
        .with_preparation()
    }

    /// Lets later events pass one that the handler added last could not handle.
    ///
    /// Without it they wait, until that one is handled, replayed or dropped: the order by key holds (G4). Where each
    /// event stands for itself (a mail to be sent), one that fails need not hold those of its key.
    #[must_use]
    pub fn or_skip(mut self) -> Self {
        if let Some(last) = self.entries.last_mut() {
            last.holds = false;
        }
        self
    }

    /// Leaves out what an earlier version of the service handled with exactly this `pattern`, for good: its group wants
    /// it no more, and what waits of it is given up.
    ///
    /// A version that merely has no handler for a type leaves out nothing, for it may be the older one: see
    /// [`consumer`](crate::consumer). Say this for one release, and take it away before the type is handled again.
    #[must_use]
    pub fn without(mut self, pattern: &str) -> Self {
        self.left_out.push(pattern.to_owned());
        self
    }

    /// Has `handler` deal with events that have [expired](CloudEvent::expirytime) before the handler added last had
    /// handled them, in its place and in the transaction with the inbox.
    ///
    /// That an event was not handled says nothing of a [preparation](Self::on_prepared), which may have run.
    ///
    /// Without it, such an event is among the [dead letters](crate::dead_letters), and holds nothing up.
    #[must_use]
    pub fn or_expired<H>(mut self, handler: H) -> Self
    where
        H: for<'a> Handler<'a, CloudEvent>,
    {
        if let Some(last) = self.entries.last_mut() {
            let handler = Arc::new(handler);
            last.expired = Some(Arc::new(move |event: CloudEvent| {
                let handler = Arc::clone(&handler);
                Box::new(Plain { handler, event }) as Box<dyn Effect>
            }));
        }
        self
    }

    /// The types and patterns that are handled, each once.
    pub fn types(&self) -> Vec<String> {
        let mut types: Vec<String> = Vec::new();
        for entry in &self.entries {
            if !types.iter().any(|known| **known == *entry.pattern) {
                types.push(entry.pattern.as_ref().into());
            }
        }
        types
    }

    /// The handlers of an event. One that reads another version of it is passed over, if there is one for this.
    pub(crate) fn matching<'a>(&'a self, event: &'a CloudEvent) -> impl Iterator<Item = &'a Entry> {
        let covering = move |entry: &&Entry| pattern::covers(&entry.pattern, &event.kind);
        let mut entries = self.entries.iter().filter(covering);
        let known = entries.any(|entry| entry.is_for_version_of(event));
        let reads = move |entry: &&Entry| {
            !known || entry.version.is_none() || entry.is_for_version_of(event)
        };
        self.entries.iter().filter(covering).filter(reads)
    }

    /// The patterns that are left out.
    pub(crate) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// What is to be done here with events of a type.
    pub(crate) fn stance(&self, kind: &str) -> Stance {
        let mut handled = self.entries.iter().map(|entry| &*entry.pattern);
        if handled.any(|pattern| pattern::covers(pattern, kind)) {
            return Stance::Handled;
        }
        let mut left_out = self.left_out.iter();
        if left_out.any(|pattern| pattern::covers(pattern, kind)) {
            return Stance::LeftOut;
        }
        Stance::Unknown
    }

    /// The names of all handlers.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.name)
    }

    fn add(
        mut self,
        pattern: &str,
        version: Option<u32>,
        start: impl Fn(CloudEvent) -> BoxFuture<'static, Result<Box<dyn Effect>, BoxError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let same = |entry: &&Entry| *entry.pattern == *pattern;
        let name = match self.entries.iter().filter(same).count() {
            0 => pattern.into(),
            earlier => format!("{pattern}#{}", earlier + 1).into(),
        };
        self.entries.push(Entry {
            pattern: pattern.into(),
            version,
            name,
            holds: true,
            prepares: false,
            start: Arc::new(start),
            expired: None,
        });
        self
    }

    /// The handler added last has a step before its transaction.
    fn with_preparation(mut self) -> Self {
        if let Some(last) = self.entries.last_mut() {
            last.prepares = true;
        }
        self
    }
}

struct Plain<H, E> {
    handler: Arc<H>,
    event: E,
}

impl<H, E> Effect for Plain<H, E>
where
    E: Send + 'static,
    H: for<'a> Handler<'a, E>,
{
    fn apply<'a>(self: Box<Self>, tx: &'a mut Transaction) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.handler.handle(tx, self.event))
    }
}

struct Prepared<H, E, P> {
    handler: Arc<H>,
    event: E,
    prepared: P,
}

impl<H, E, P> Effect for Prepared<H, E, P>
where
    E: Send + 'static,
    P: Send + 'static,
    H: for<'a> PreparedHandler<'a, E, P>,
{
    fn apply<'a>(self: Box<Self>, tx: &'a mut Transaction) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.handler.handle(tx, self.event, self.prepared))
    }
}
