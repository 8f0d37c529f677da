//! Requests that take effect once, however often they are sent (G3): the rows behind `Idempotency-Key`.
//!
//! Whoever handles a request **claims** its key, on a lease that it renews: a twin waits, and a crash blocks nobody
//! for long. In the end the **answer** is stored, and is given to every later request. In between a handler may bind
//! what it **decided** to the key, in the transaction of its effects: whoever handles the request again after a crash
//! finds that, and does not decide anew.
//!
//! Leases are compared with the clock of whoever asks. Where clocks are apart by more than a lease, two may handle a
//! request at once; but only the later claim can still decide, because a decision asks for the holder of its row.

use std::time::Duration;

use env::Timestamp;

use crate::{Changes, Database, Result, Row, Transaction, Value, params};

/// The channel of transactions that end a claim.
const CHANNEL: &str = "outrigger_idempotency";

/// What a request that is to take effect once is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who sent it: the keys of one sender mean nothing for another.
    pub scope: String,
    /// The key that the sender gave it.
    pub key: String,
    /// A digest of all that tells it from another request which comes with the same key by mistake.
    pub fingerprint: String,
}

/// What becomes of an attempt to handle a request.
#[derive(Debug)]
pub enum Claimed {
    /// It is this one's turn.
    Mine(Claim),
    /// Somebody else is at it.
    Theirs,
    /// It was answered.
    Answered(Answer),
    /// The key belongs to another request.
    Other,
}

/// An answer as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status and headers, in the words of whoever stores it.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// The right to handle a request, until its lease is over and somebody else takes it.
#[derive(Debug, Clone)]
pub struct Claim {
    scope: String,
    key: String,
    /// Unlike that of any other claim.
    holder: String,
}

/// What becomes of a [decision](Claim::decide).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// It is written.
    Now,
    /// There is one already, of this run or of an earlier one: what follows from it has been committed.
    Before,
    /// Somebody else has the claim now.
    Overtaken,
}

impl Database {
    /// Claims a request for `lease`. A row older than `keep` counts for nothing, unless it is held.
    ///
    /// # Errors
    /// As of a transaction.
    pub async fn claim(
        &self,
        request: &Request,
        lease: Duration,
        keep: Duration,
    ) -> Result<Claimed> {
        let claim = Claim {
            scope: request.scope.clone(),
            key: request.key.clone(),
            holder: env::id().to_string(),
        };
        let claimed = self
            .transaction(async |tx| claim.make(tx, request, lease, keep).await)
            .await?;
        Ok(claimed.unwrap_or(Claimed::Mine(claim)))
    }

    /// Being woken when a claim ends, with an answer or without.
    pub fn claims_ended(&self) -> Changes {
        self.changes(CHANNEL)
    }

    /// Forgets requests that came before `before` and are not being handled; how many.
    ///
    /// # Errors
    /// As of a transaction; what was forgotten until then stays so.
    pub async fn prune_idempotency(&self, before: Timestamp) -> Result<u64> {
        let batch = "DELETE FROM outrigger_idempotency WHERE (scope, key) IN
                     (SELECT scope, key FROM outrigger_idempotency
                      WHERE created_at < $1 AND held_until < $2 LIMIT $3)";
        self.in_batches(batch, params![before, env::now()]).await
    }
}

/// A change of the row by the one who has the claim: `$1` to `$3` are scope, key and holder.
macro_rules! of_holder {
    ($set:literal) => {
        of_holder!($set, "answer_head IS NULL")
    };
    ($set:literal, $when:literal) => {
        concat!(
            "UPDATE outrigger_idempotency SET ",
            $set,
            " WHERE scope = $1 AND key = $2 AND holder = $3 AND ",
            $when
        )
    };
}

impl Claim {
    /// The key of the request.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Writes the claim; `None` when it is made, otherwise what stands in its way.
    async fn make(
        &self,
        mut tx: Transaction,
        request: &Request,
        lease: Duration,
        keep: Duration,
    ) -> Result<Option<Claimed>> {
        let now = env::now();
        let row = params![
            &self.scope,
            &self.key,
            &request.fingerprint,
            &self.holder,
            now + lease,
            now
        ];
        let insert = "INSERT INTO outrigger_idempotency (scope, key, fingerprint, holder, held_until, created_at)
                      VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        if tx.execute(insert, row).await? == 1 {
            return Ok(None);
        }
        let select = "SELECT fingerprint, held_until, created_at, answer_head, answer_body
                      FROM outrigger_idempotency WHERE scope = $1 AND key = $2";
        let Some(found) = tx
            .query_one(select, params![&self.scope, &self.key])
            .await?
        else {
            // Forgotten this very moment: whoever is told so looks again.
            return Ok(Some(Claimed::Theirs));
        };
        match State::of(&found, &request.fingerprint, now, keep)? {
            State::Taken(claimed) => return Ok(Some(claimed)),
            State::Free => {
                tracing::debug!(
                    key = self.key,
                    "a request that came to no answer is taken over"
                );
                let update = "UPDATE outrigger_idempotency SET holder = $3, held_until = $4
                              WHERE scope = $1 AND key = $2";
                let row = params![&self.scope, &self.key, &self.holder, now + lease];
                tx.execute(update, row).await?;
            }
            State::Expired => {
                let update = "UPDATE outrigger_idempotency SET fingerprint = $3, holder = $4, held_until = $5,
                                  created_at = $6, decision = NULL, answer_head = NULL, answer_body = NULL
                              WHERE scope = $1 AND key = $2";
                tx.execute(update, row).await?;
            }
        }
        Ok(None)
    }

    /// Keeps the claim for `lease` from now; false when somebody else has it.
    ///
    /// # Errors
    /// As of a transaction.
    pub async fn renew(&self, db: &Database, lease: Duration) -> Result<bool> {
        db.transaction(async |mut tx| self.hold_until(&mut tx, env::now() + lease).await)
            .await
    }

    /// Gives the claim back without an answer: the request may be handled again at once, and what was decided stays.
    /// False when somebody else has it.
    ///
    /// # Errors
    /// As of a transaction.
    pub async fn release(&self, db: &Database) -> Result<bool> {
        db.transaction(async |mut tx| {
            tx.notify(CHANNEL);
            self.hold_until(&mut tx, env::now()).await
        })
        .await
    }

    async fn hold_until(&self, tx: &mut Transaction, until: Timestamp) -> Result<bool> {
        const HOLD: &str = of_holder!("held_until = $4");
        self.update(tx, HOLD, params![until]).await
    }

    /// Stores the answer, for everybody who sends the request again; false when somebody else has the claim.
    ///
    /// # Errors
    /// As of a transaction.
    pub async fn answer(&self, db: &Database, answer: &Answer) -> Result<bool> {
        const ANSWER: &str = of_holder!("answer_head = $4, answer_body = $5");
        let Answer { head, body } = answer;
        db.transaction(async |mut tx| {
            tx.notify(CHANNEL);
            self.update(&mut tx, ANSWER, params![head, body]).await
        })
        .await
    }

    /// What an earlier run of the request decided, if it came so far.
    ///
    /// # Errors
    /// As of a query.
    pub async fn decision(&self, db: &Database) -> Result<Option<String>> {
        let select = "SELECT decision FROM outrigger_idempotency WHERE scope = $1 AND key = $2";
        let row = db
            .query_one(select, params![&self.scope, &self.key])
            .await?;
        row.map_or(Ok(None), |row| row.get(0))
    }

    /// Binds what was decided to the request, with everything else that the transaction writes. Call it first in the
    /// transaction; unless it is written [now](Decided::Now), roll back.
    ///
    /// # Errors
    /// As [`Transaction::execute`].
    pub async fn decide(&self, tx: &mut Transaction, decision: &str) -> Result<Decided> {
        const DECIDE: &str = of_holder!("decision = $4", "decision IS NULL");
        if self.update(tx, DECIDE, params![decision]).await? {
            return Ok(Decided::Now);
        }
        let select =
            "SELECT 1 FROM outrigger_idempotency WHERE scope = $1 AND key = $2 AND holder = $3";
        let mine = tx
            .query_one(select, params![&self.scope, &self.key, &self.holder])
            .await?;
        Ok(if mine.is_some() {
            Decided::Before
        } else {
            Decided::Overtaken
        })
    }

    /// Changes the row, if this is the claim on it.
    async fn update(&self, tx: &mut Transaction, sql: &str, values: &[Value]) -> Result<bool> {
        let holder = params![&self.scope, &self.key, &self.holder];
        Ok(tx.execute(sql, &[holder, values].concat()).await? == 1)
    }
}

/// How a request stands that came before.
enum State {
    /// Nobody else's turn.
    Taken(Claimed),
    /// It came to no answer.
    Free,
    /// It was long ago.
    Expired,
}

impl State {
    fn of(row: &Row, fingerprint: &str, now: Timestamp, keep: Duration) -> Result<Self> {
        let (held_until, created_at): (Timestamp, Timestamp) = (row.get(1)?, row.get(2)?);
        let held = held_until > now;
        // Unlike a sum, a difference cannot overflow.
        let age = Duration::try_from(now.duration_since(created_at)).unwrap_or_default();
        if age >= keep && !held {
            return Ok(Self::Expired);
        }
        if row.get::<String>(0)? != fingerprint {
            return Ok(Self::Taken(Claimed::Other));
        }
        Ok(match row.get::<Option<String>>(3)? {
            Some(head) => Self::Taken(Claimed::Answered(Answer {
                head,
                body: row.get(4)?,
            })),
            None if held => Self::Taken(Claimed::Theirs),
            None => Self::Free,
        })
    }
}
