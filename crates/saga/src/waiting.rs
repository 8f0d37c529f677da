//! Waiting for a saga to come to rest.
//!
//! Who waits is woken by the transaction that brings its saga to rest. Where another process committed it, all who wait
//! here look together, with one question to the database, however many they are.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use data::{Database, changes::Woken};
use env::Instant;
use tokio::sync::Mutex as Turn;

use crate::{Error, Outcome, Result, driver, store};

/// When the database is asked again without being woken, in case a wake from another process is lost: on SQLite, each is.
/// Then twice as long.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The longest time between two such looks.
const LOOK_SELDOM: Duration = Duration::from_secs(10);

/// Those who wait, so that each is woken for its own saga only.
#[derive(Clone)]
pub(crate) struct Waiting {
    db: Database,
    marks: Arc<Mutex<BTreeMap<String, Mark>>>,
    /// When all who wait last began to look together.
    looked: Arc<Turn<Option<Instant>>>,
}

/// Whether a transaction was seen that brings the saga to rest, if it commits.
#[derive(Default)]
struct Mark {
    waiters: usize,
    resting: Arc<AtomicBool>,
}

impl Waiting {
    pub(crate) fn new(db: Database) -> Self {
        Self {
            db,
            marks: Arc::default(),
            looked: Arc::default(),
        }
    }

    fn marks(&self) -> MutexGuard<'_, BTreeMap<String, Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the saga comes to rest with the running transaction.
    pub(crate) fn mark(&self, id: &str) {
        if let Some(mark) = self.marks().get(id) {
            mark.resting.store(true, Ordering::Release);
        }
    }

    /// Waits until the saga rests, at most for `limit`.
    pub(crate) async fn wait(&self, id: &str, limit: Duration) -> Result<Option<Outcome>> {
        let here = Waiter::enter(self, id);
        match env::timeout(limit, self.rest(id, &here.resting)).await {
            Ok(outcome) => outcome.map(Some),
            Err(_) => self.look(id).await,
        }
    }

    async fn rest(&self, id: &str, resting: &AtomicBool) -> Result<Outcome> {
        let mut rested = self.db.changes(driver::RESTED);
        let mut look_again = LOOK_AGAIN;
        loop {
            if let Some(outcome) = self.look(id).await? {
                return Ok(outcome);
            }
            // Marked and then committed: once both are seen, looking is worth it.
            let ours = async {
                loop {
                    if rested.wait().await == Woken::Elsewhere {
                        self.look_together(env::instant()).await?;
                    }
                    if resting.load(Ordering::Acquire) {
                        return Ok::<_, Error>(());
                    }
                }
            };
            // Elapsed or not, the next thing to do is to look.
            env::timeout(look_again, ours).await.unwrap_or(Ok(()))?;
            look_again = (look_again * 2).min(LOOK_SELDOM);
        }
    }

    /// Marks those who rest of all who are waited for, unless somebody began to look after we were `woken`.
    async fn look_together(&self, woken: Instant) -> Result<()> {
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|began| began >= woken) {
            return Ok(());
        }
        let began = env::instant();
        let ids: Vec<String> = self.marks().keys().cloned().collect();
        for id in store::resting(&self.db, &ids).await? {
            self.mark(&id);
        }
        *looked = Some(began);
        Ok(())
    }

    async fn look(&self, id: &str) -> Result<Option<Outcome>> {
        let status = store::status(&self.db, id).await?;
        let status = status.ok_or_else(|| Error::NotFound { id: id.to_owned() })?;
        Ok(status.outcome())
    }
}

/// Somebody who waits, until dropped.
struct Waiter<'a> {
    waiting: &'a Waiting,
    id: &'a str,
    resting: Arc<AtomicBool>,
}

impl<'a> Waiter<'a> {
    fn enter(waiting: &'a Waiting, id: &'a str) -> Self {
        let mut marks = waiting.marks();
        let mark = marks.entry(id.to_owned()).or_default();
        mark.waiters += 1;
        let resting = Arc::clone(&mark.resting);
        Self {
            waiting,
            id,
            resting,
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut marks = self.waiting.marks();
        if let Some(mark) = marks.get_mut(self.id) {
            mark.waiters -= 1;
            if mark.waiters == 0 {
                marks.remove(self.id);
            }
        }
    }
}
