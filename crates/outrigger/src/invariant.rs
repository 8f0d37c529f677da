//! What must be true of a system's data.
//!
//! An invariant is declared once, with the system. The simulation checks it, so do the tests, `audit` looks at a real
//! system with it, and while the system runs a [`Watch`] raises an alert when it does not hold, which [`guard`] passes on.

mod guard;
mod inspection;
mod watch;
mod webhook;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;

pub use guard::guard;
pub use inspection::{BUS, Inspection};
pub use watch::{Alert, Watch};

type Check = dyn Fn(Inspection) -> BoxFuture<'static, Result<(), Findings>> + Send + Sync;

/// Something that must be true of a system's data.
#[derive(Clone)]
pub struct Invariant {
    name: Arc<str>,
    staleness: Duration,
    check: Arc<Check>,
}

impl Invariant {
    /// What is called `name` and looked at by `check`, which may fail of one thing for up to `staleness`. See
    /// [`System::invariant`](crate::System::invariant).
    pub fn new<F, Fut, E>(name: &str, staleness: Duration, check: F) -> Self
    where
        F: Fn(Inspection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Findings>,
    {
        let check = move |view| -> BoxFuture<'static, _> {
            let checked = check(view);
            Box::pin(async { checked.await.map_err(Into::into) })
        };
        Self {
            name: name.into(),
            staleness,
            check: Arc::new(check),
        }
    }

    /// What must be true, in words.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long it may fail of one thing while messages are on their way; zero is never.
    pub fn staleness(&self) -> Duration {
        self.staleness
    }

    /// Looks; the error says what was found instead.
    ///
    /// # Errors
    /// What is not as it must be.
    pub async fn check(&self, view: Inspection) -> Result<(), Findings> {
        (self.check)(view).await
    }
}

/// What was found instead of what must be true: a reason for each thing that it was found of.
///
/// The things tell a running system apart that is behind with one order after the other from one that has lost
/// one. A plain text is a finding of the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings(BTreeMap<String, String>);

impl Findings {
    /// `Ok` if there are none.
    ///
    /// # Errors
    /// These, if there are any.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    fn things(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Those of the things that `keep` says.
    fn only(mut self, keep: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|thing, _| keep(thing));
        self
    }
}

/// A thing, and what was found of it.
impl<T: Into<String>, R: Into<String>> FromIterator<(T, R)> for Findings {
    fn from_iter<I: IntoIterator<Item = (T, R)>>(found: I) -> Self {
        let found = found.into_iter();
        Self(
            found
                .map(|(thing, reason)| (thing.into(), reason.into()))
                .collect(),
        )
    }
}

impl From<String> for Findings {
    fn from(reason: String) -> Self {
        Self::from_iter([("", reason)])
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (number, (thing, reason)) in self.0.iter().take(SHOWN).enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            let colon = if thing.is_empty() { "" } else { ": " };
            write!(f, "{separator}{thing}{colon}{reason}")?;
        }
        match self.0.len() {
            0..=SHOWN => Ok(()),
            more => write!(f, "; and {} more", more - SHOWN),
        }
    }
}
