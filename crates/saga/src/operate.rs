//! What operators see of sagas, and what they can do about them.

use env::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{Entry, Error, Failure, Result, Sagas, State, Status, journal, store};

/// What happened to a saga, and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// When it was written down.
    pub time: Timestamp,
    /// What it was.
    #[serde(flatten)]
    pub entry: Entry,
}

impl Sagas {
    /// How far a saga is; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn status(&self, id: &str) -> Result<Option<Status>> {
        store::status(self.db(), id).await
    }

    /// What a saga was started with; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn input(&self, id: &str) -> Result<Option<Value>> {
        store::input(self.db(), id).await
    }

    /// The first `limit` sagas of a state, those first that nothing has happened to for the longest time.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn list(&self, state: State, limit: u32) -> Result<Vec<Status>> {
        store::list(self.db(), state, limit).await
    }

    /// How many sagas are in each state that is no end.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn unended(&self) -> Result<Vec<(State, u64)>> {
        store::unended(self.db()).await
    }

    /// What is remembered of a saga, the earliest first; empty where there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn journal(&self, id: &str) -> Result<Vec<Entry>> {
        let timeline = self.timeline(id).await?;
        Ok(timeline.into_iter().map(|event| event.entry).collect())
    }

    /// The same, with the time of each.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn timeline(&self, id: &str) -> Result<Vec<Event>> {
        let lines = store::timeline(self.db(), id).await?;
        let event = |(time, entry)| Event { time, entry };
        Ok(lines.into_iter().map(event).collect())
    }

    /// Has a parked saga go on: the function is run again, or the step or undo that hangs is sent again.
    ///
    /// A saga that is not parked simply goes on. What still does not fit parks it again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ended`], [`Error::Database`].
    pub async fn resume(&self, id: &str) -> Result<()> {
        self.intervene(id, |_| Ok(Entry::Resumed)).await
    }

    /// Counts a step as done that the saga waits for, or that it is parked over, and goes on with `reply` for what was
    /// answered: `null` for a step without a reply.
    ///
    /// A step that sends something is not called back: it may be done yet. Should the saga fail later, it is undone
    /// like any other.
    ///
    /// # Errors
    /// [`Error::NoReason`], [`Error::NotFound`], [`Error::Ended`], [`Error::NotWaiting`], [`Error::Database`].
    pub async fn skip(&self, id: &str, seq: u32, reason: &str, reply: Value) -> Result<()> {
        says_why(id, reason)?;
        self.intervene(id, |journal| {
            let skipped = Entry::Skipped {
                seq,
                reason: reason.to_owned(),
                reply: reply.clone(),
            };
            match journal::awaits(journal, &skipped) {
                true => Ok(skipped),
                false => Err(Error::NotWaiting {
                    id: id.to_owned(),
                    seq,
                }),
            }
        })
        .await
    }

    /// Runs the function no further, and undoes what it did; the saga ends compensated with the code
    /// [`cancelled`](crate::failure::CANCELLED). One that is being undone already goes on with that.
    ///
    /// # Errors
    /// [`Error::NoReason`], [`Error::PastReturn`]; [`Error::NotFound`], [`Error::Ended`], [`Error::Database`].
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<()> {
        says_why(id, reason)?;
        self.intervene(id, |journal| {
            if journal::is_past_return(journal) {
                return Err(Error::PastReturn { id: id.to_owned() });
            }
            let failure = Failure::cancelled(reason);
            Ok(Entry::Cancelled { failure })
        })
        .await
    }

    /// Has the saga hear of what `decide` makes of its journal, in one transaction.
    async fn intervene(&self, id: &str, decide: impl Fn(&[Entry]) -> Result<Entry>) -> Result<()> {
        let decide = &decide;
        self.db()
            .transaction(async |mut tx| {
                let state = store::known(&mut tx, id).await?;
                let state = state.ok_or_else(|| Error::NotFound { id: id.to_owned() })?;
                if state.is_end() {
                    let id = id.to_owned();
                    return Err(Error::Ended { id, state });
                }
                let news = decide(&store::journal(&mut tx, id).await?)?;
                self.hear(&mut tx, id, news).await
            })
            .await
    }
}

/// Whoever looks at the saga later has nothing else to go by.
fn says_why(id: &str, reason: &str) -> Result<()> {
    match reason.trim() {
        "" => Err(Error::NoReason { id: id.to_owned() }),
        _ => Ok(()),
    }
}
