//! The end of a transaction: its last statements and `COMMIT`, on their way at once.
//!
//! The server works on what it is sent in order. After a statement that fails it rolls back where it is told to commit.

use std::{io, pin::pin, sync::Arc};

use futures::{FutureExt, future::maybe_done};

use super::{BEGIN, Bound, Connection, GRACE, Interrupted, Place, Prepared, references};
use crate::{
    Error, Result,
    error::Kind,
    postgres::failure::{cause, failed, kind, unbegun},
    transaction::Closing,
};

impl Connection {
    /// Runs `closing` and commits.
    ///
    /// # Errors
    /// Of a statement that the server refused, and nothing is kept; [`Error::NotCommitted`]; [`Error::CommitUnknown`] where an
    /// answer is missing.
    pub(in crate::postgres) async fn commit(
        &mut self,
        closing: &[Closing],
        place: Place,
    ) -> Result<()> {
        if !self.is_good() {
            let source = Arc::new(io::Error::from(io::ErrorKind::NotConnected));
            let kind = Kind::Connection;
            return Err(Error::NotCommitted { kind, source });
        }
        if closing.is_empty() {
            return self.control("COMMIT").await.map_err(undecided);
        }
        let mut prepared = Vec::with_capacity(closing.len());
        for Closing { sql, params } in closing {
            let statement = self.prepare(sql, params).await;
            prepared.push(self.note(sql, statement)?);
        }
        let limit = self.target.statement_timeout + GRACE;
        let outcome = env::timeout(limit, self.send(closing, &prepared, place)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(unanswered()));
        self.broken |= matches!(outcome, Err(Error::CommitUnknown { .. }));
        let sql = match &outcome {
            Err(Error::Statement { sql, .. }) => sql.clone(),
            _ => return outcome,
        };
        self.note(&sql, outcome)
    }

    /// Sends everything, then hears the answers.
    async fn send(&self, closing: &[Closing], prepared: &[Prepared], place: Place) -> Result<()> {
        let mut begun = pin!(maybe_done(async {
            match place {
                Place::First => self.client.batch_execute(BEGIN).await,
                Place::Within => Ok(()),
            }
        }));
        let _ = begun.as_mut().now_or_never(); // polled once, it is sent
        let mut answers = Vec::with_capacity(closing.len());
        for (Closing { sql, params }, Prepared { statement, .. }) in closing.iter().zip(prepared) {
            let mut answer = Box::pin(maybe_done(async move {
                let bound: Vec<_> = params.iter().map(Bound).collect();
                self.client.execute(statement, &references(&bound)).await
            }));
            let _ = answer.as_mut().now_or_never();
            if let Some(Err(_)) = answer.as_mut().output_mut()
                && let Some(Err(error)) = answer.as_mut().take_output()
            {
                // It did not get as far as the server, which must not be told to commit without it.
                return Err(failed(sql, error));
            }
            answers.push((sql, answer));
        }
        let mut committed = pin!(maybe_done(self.client.batch_execute("COMMIT")));
        let _ = committed.as_mut().now_or_never();

        begun.as_mut().await;
        let begun = begun.take_output().unwrap_or(Ok(()));
        let mut refused = begun.err().map(unbegun);
        for (sql, mut answer) in answers {
            answer.as_mut().await;
            match answer.as_mut().take_output() {
                Some(Err(error)) if error.as_db_error().is_none() => {
                    return Err(Error::CommitUnknown {
                        source: cause(error),
                    });
                }
                Some(Err(error)) => refused = refused.or_else(|| Some(failed(sql, error))),
                Some(Ok(_)) | None => {}
            }
        }
        committed.as_mut().await;
        let committed = committed.take_output().unwrap_or(Ok(()));
        match refused {
            Some(error) => Err(error),
            None => committed.map_err(|error| undecided(Interrupted::Failed(error))),
        }
    }
}

/// What a `COMMIT` that has no good end means.
fn undecided(interrupted: Interrupted) -> Error {
    match interrupted {
        Interrupted::Unanswered => unanswered(),
        Interrupted::Failed(error) => match (kind(&error), error.as_db_error()) {
            // Whether it arrived is not known, only that no answer did.
            (Kind::Connection, _) | (_, None) => Error::CommitUnknown {
                source: cause(error),
            },
            (kind @ Kind::Serialization, Some(_)) => Error::NotCommitted {
                kind,
                source: cause(error),
            },
            // A constraint that was checked only now.
            (_, Some(_)) => failed("COMMIT", error),
        },
    }
}

fn unanswered() -> Error {
    Error::CommitUnknown {
        source: Arc::new(io::Error::from(io::ErrorKind::TimedOut)),
    }
}
