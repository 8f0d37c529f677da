//! Statements that are on their way at once, and `COMMIT` with the last of them.
//!
//! The server works on what it is sent in order. After a statement that fails it refuses those that follow, and rolls back
//! where it is told to commit.

use std::{io, pin::Pin, sync::Arc};

use futures::{
    FutureExt,
    future::{MaybeDone, maybe_done},
};
use tokio_postgres::Error as Refusal;

use super::{BEGIN, Bound, Connection, GRACE, Interrupted, Place, Prepared, references};
use crate::{
    Error, Result, Statement,
    error::Kind,
    postgres::failure::{self, cause, failed, kind, unbegun},
};

/// What the server said to all that was sent together.
struct Heard {
    begun: Result<(), Refusal>,
    counts: Vec<Result<u64, Refusal>>,
    committed: Result<(), Refusal>,
}

impl Connection {
    /// Runs `statements`, of which there is at least one; how many rows each of them changed.
    pub(in crate::postgres) async fn execute_all(
        &mut self,
        statements: &[Statement],
        place: Place,
    ) -> Result<Vec<u64>> {
        let prepared = self.prepare_all(statements).await?;
        let limit = self.target.statement_timeout + GRACE;
        let sending = self.send(statements, &prepared, place, Then::Go);
        let heard = match env::timeout(limit, sending).await {
            Ok(heard) => heard.and_then(|Heard { begun, counts, .. }| {
                begun.map_err(unbegun)?;
                let counts = counts.into_iter().zip(statements);
                counts
                    .map(|(count, statement)| count.map_err(|error| failed(&statement.sql, error)))
                    .collect()
            }),
            Err(_) => Err(failure::unanswered(&statements[0].sql)),
        };
        self.note_any(heard)
    }

    /// Runs `closing` and commits.
    ///
    /// # Errors
    /// Of a statement that the server refused, and nothing is kept; [`Error::NotCommitted`]; [`Error::CommitUnknown`] where an
    /// answer is missing.
    pub(in crate::postgres) async fn commit(
        &mut self,
        closing: &[Statement],
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
        let prepared = self.prepare_all(closing).await?;
        let limit = self.target.statement_timeout + GRACE;
        let sending = self.send(closing, &prepared, place, Then::Commit);
        let outcome = match env::timeout(limit, sending).await {
            Ok(heard) => heard.and_then(|heard| judge(heard, closing)),
            Err(_) => Err(unanswered()),
        };
        self.broken |= matches!(outcome, Err(Error::CommitUnknown { .. }));
        self.note_any(outcome)
    }

    async fn prepare_all(&mut self, statements: &[Statement]) -> Result<Vec<Prepared>> {
        let mut prepared = Vec::with_capacity(statements.len());
        for Statement { sql, params } in statements {
            let statement = self.prepare(sql, params).await;
            prepared.push(self.note(sql, statement)?);
        }
        Ok(prepared)
    }

    /// [Notes](Self::note) the failure of whichever statement it is of.
    fn note_any<T>(&mut self, outcome: Result<T>) -> Result<T> {
        let sql = match &outcome {
            Err(Error::Statement { sql, .. }) => sql.clone(),
            _ => return outcome,
        };
        self.note(&sql, outcome)
    }

    /// Sends everything, then hears the answers. An error is of what did not get as far as the server; then nothing was
    /// sent after it.
    async fn send(
        &self,
        statements: &[Statement],
        prepared: &[Prepared],
        place: Place,
        then: Then,
    ) -> Result<Heard> {
        let begun = sent(async {
            match place {
                Place::First => self.client.batch_execute(BEGIN).await,
                Place::Within => Ok(()),
            }
        });
        let mut counts = Vec::with_capacity(statements.len());
        for (Statement { sql, params }, Prepared { statement, .. }) in
            statements.iter().zip(prepared)
        {
            let mut count = sent(async move {
                let bound: Vec<_> = params.iter().map(Bound).collect();
                self.client.execute(statement, &references(&bound)).await
            });
            if let Some(Err(_)) = count.as_mut().output_mut()
                && let Some(Err(error)) = count.as_mut().take_output()
            {
                return Err(failed(sql, error));
            }
            counts.push(count);
        }
        let committed = sent(async {
            match then {
                Then::Commit => self.client.batch_execute("COMMIT").await,
                Then::Go => Ok(()),
            }
        });
        let begun = heard(begun).await.unwrap_or(Ok(()));
        let mut answers = Vec::with_capacity(counts.len());
        for count in counts {
            answers.extend(heard(count).await);
        }
        Ok(Heard {
            begun,
            counts: answers,
            committed: heard(committed).await.unwrap_or(Ok(())),
        })
    }
}

/// What comes after the statements.
#[derive(Clone, Copy)]
enum Then {
    /// The transaction goes on.
    Go,
    /// It commits.
    Commit,
}

/// A request of the client, which is on its way once it was polled.
fn sent<F: Future>(request: F) -> Pin<Box<MaybeDone<F>>> {
    let mut request = Box::pin(maybe_done(request));
    let _ = request.as_mut().now_or_never();
    request
}

/// Its answer. There is one, for nobody has taken it.
async fn heard<F: Future>(mut request: Pin<Box<MaybeDone<F>>>) -> Option<F::Output> {
    request.as_mut().await;
    request.as_mut().take_output()
}

/// What became of a commit.
fn judge(heard: Heard, closing: &[Statement]) -> Result<()> {
    let mut refused = heard.begun.err().map(unbegun);
    for (count, Statement { sql, .. }) in heard.counts.into_iter().zip(closing) {
        match count {
            Err(error) if error.as_db_error().is_none() => {
                return Err(Error::CommitUnknown {
                    source: cause(error),
                });
            }
            Err(error) => refused = refused.or_else(|| Some(failed(sql, error))),
            Ok(_) => {}
        }
    }
    match refused {
        Some(error) => Err(error),
        None => heard
            .committed
            .map_err(|error| undecided(Interrupted::Failed(error))),
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
