//! Running a transaction again after a conflict, or a fault that passes.

use std::time::Duration;

use crate::{Database, Error, Result, Transaction, error::Again, transaction::Home};

/// Runs of one transaction, the first one included, before its error is given to the caller.
const RUNS: u32 = 8;

/// The longest pause before the second run. It doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

impl Database {
    /// Runs `work` in a transaction and commits; on `Err` it rolls back. When the engine refuses
    /// because of another transaction, or of a fault that passes (see [`Error::is_retryable`]), `work`
    /// is run again from its beginning, at most eight times in all: after a conflict at its
    /// [turn](crate::Turn), after a fault when a random pause has passed. So it must not do anything
    /// outside the transaction, nor keep anything from a run that failed.
    ///
    /// `work` is given the transaction and leaves it to end here: it drops it. (It is not given a
    /// `&mut Transaction`, because then no future that calls this with something borrowed would be
    /// `Send`.)
    ///
    /// Whether a failure is of that kind is read off the transaction, not off `E`: an error of
    /// the database may be wrapped in anything.
    ///
    /// ```
    /// # use outrigger_data as data;
    /// # use data::{Database, params};
    /// async fn reserve(db: &Database, product: &str) -> data::Result<u64> {
    ///     db.transaction(async |mut tx| {
    ///         tx.execute("UPDATE stock SET reserved = reserved + 1 WHERE product = $1", params![product]).await
    ///     })
    ///     .await
    /// }
    /// ```
    ///
    /// # Errors
    /// What `work` fails with; what [`begin`](Self::begin) and [`commit`](Transaction::commit) fail
    /// with, as `E`. [`Error::Overloaded`] is not tried again: more tries are what it needs least.
    pub async fn transaction<T, E, F>(&self, mut work: impl FnMut(Transaction) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        E: From<Error>,
    {
        let mut runs = 1;
        let mut turn = self.turn();
        turn.first().await;
        loop {
            let failure = match self.run(&mut work).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            match failure.again {
                Some(Again::InTurn) if runs < RUNS => turn.again().await,
                Some(Again::Later) if runs < RUNS => {
                    turn.pass();
                    env::sleep(pause(runs)).await;
                }
                _ => return Err(failure.error),
            }
            runs += 1;
        }
    }

    async fn run<T, E, F>(&self, work: &mut impl FnMut(Transaction) -> F) -> Result<T, Failure<E>>
    where
        F: Future<Output = Result<T, E>>,
        E: From<Error>,
    {
        let home = Home::default();
        let outcome = work(self.begin().await?.lent_by(&home)).await;
        // None is left when `work` ended it by itself.
        let tx = home.take();
        let again = tx.as_ref().and_then(Transaction::again);
        match (&outcome, tx) {
            (Ok(_), Some(tx)) => tx.commit().await?,
            // What `work` decided may rest on rows that never came to be: then it decides anew.
            (Err(_), Some(tx)) => tx.rollback().await?,
            (_, None) => {}
        }
        outcome.map_err(|error| Failure { error, again })
    }
}

struct Failure<E> {
    error: E,
    again: Option<Again>,
}

impl<E: From<Error>> From<Error> for Failure<E> {
    fn from(error: Error) -> Self {
        Self {
            again: error
                .again()
                .filter(|_| !matches!(error, Error::Overloaded { .. })),
            error: error.into(),
        }
    }
}

/// Between none and the longest, so that not all who waited come back at the same moment.
fn pause(runs: u32) -> Duration {
    let longest = FIRST_PAUSE * 2_u32.saturating_pow(runs - 1);
    let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(env::random().below(micros))
}
