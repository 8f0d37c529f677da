//! One connection: made, used for statements, and known to be good or not.
//!
//! `connection/pipeline.rs` has several statements on their way at once, and ends transactions.

mod pipeline;

use std::{collections::BTreeMap, future::poll_fn, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle};
use tokio_postgres::{AsyncMessage, Client, SimpleQueryMessage, Statement, types::ToSql};

use super::{
    failure::{failed, kind, unanswered, unbegun, unconnected},
    target::Target,
    value::{Bound, Read},
};
use crate::{Error, Result, Row, Value, error::Kind};

/// Statements kept prepared on each connection.
const STATEMENT_CACHE: usize = 256;

/// Notifications that wait to be heard. One more is dropped: whoever waits looks again anyway.
const NOTIFICATIONS: usize = 64;

/// How much longer than a statement may take its answer is waited for, before the connection counts
/// as lost: the server keeps the time, unless it is gone.
const GRACE: Duration = Duration::from_secs(5);

/// How long a connection that is asked whether it is alive may take to say so.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// No lost updates, and conflicts by row only (docs/decisions/0007).
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE";

/// Where a statement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It begins a transaction.
    First,
    /// In the transaction that is open, or by itself.
    Within,
}

pub(super) struct Connection {
    client: Client,
    target: Arc<Target>,
    prepared: BTreeMap<Arc<str>, Prepared>,
    /// Counts statements, to know which of the prepared ones was used last.
    clock: u64,
    /// What the server notifies of, when it was asked to.
    notifications: mpsc::Receiver<String>,
    /// It failed in a way that nothing good may be expected of it.
    broken: bool,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Prepared {
    statement: Statement,
    columns: Arc<[String]>,
    used: u64,
}

impl Connection {
    /// Connects to the first host that takes us and takes writes, and sets the session up. Of all hosts, the one that
    /// did so last is asked first.
    pub(super) async fn open(target: &Arc<Target>) -> Result<Self> {
        let mut failures = Vec::new();
        for index in target.hosts_in_turn() {
            let (host, port) = &target.hosts[index];
            if let Some(connection) = Self::open_on(target, host, *port, &mut failures).await {
                target.took_us(index);
                return Ok(connection);
            }
        }
        Err(together(target, failures))
    }

    /// Connects to one host, whichever of its addresses it is at.
    async fn open_on(
        target: &Arc<Target>,
        host: &str,
        port: u16,
        failures: &mut Vec<Error>,
    ) -> Option<Self> {
        let place = format!("{host}:{port}");
        let looking = env::timeout(target.connect_timeout, env::net::resolve_all(&place));
        let addresses = match looking.await.map_err(Into::into).flatten() {
            Ok(addresses) => addresses,
            Err(error) => {
                failures.push(unreachable(target, format!("{place}: {error}")));
                return None;
            }
        };
        for address in addresses {
            let connecting = Self::open_at(target, host, address);
            match env::timeout(target.connect_timeout, connecting).await {
                Ok(Ok(connection)) => return Some(connection),
                Ok(Err(error)) => failures.push(error),
                Err(late) => failures.push(unreachable(target, format!("{place}: {late}"))),
            }
        }
        None
    }

    async fn open_at(target: &Arc<Target>, host: &str, address: SocketAddr) -> Result<Self> {
        let away = |why: String| unreachable(target, format!("{host} ({address}): {why}"));
        let stream = env::net::connect(address).await;
        let stream = stream.map_err(|error| away(error.to_string()))?;
        let tls = target.tls(host)?;
        let (client, mut connection) = target
            .config
            .connect_raw(stream, tls)
            .await
            .map_err(|error| unconnected(target.place(), error))?;
        let (heard, notifications) = mpsc::channel(NOTIFICATIONS);
        let task = tokio::spawn(async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    Ok(AsyncMessage::Notification(notification)) => {
                        let _ = heard.try_send(notification.payload().to_owned());
                    }
                    Ok(AsyncMessage::Notice(notice)) => {
                        tracing::debug!(message = notice.message(), "the database says");
                    }
                    Ok(_) => {}
                    // Whoever waits for an answer is told.
                    Err(_) => return,
                }
            }
        });
        let connection = Self {
            client,
            target: Arc::clone(target),
            prepared: BTreeMap::new(),
            clock: 0,
            notifications,
            broken: false,
            task,
        };
        if connection.set_up().await? {
            return Err(away("it is a standby, which takes no writes".to_owned()));
        }
        Ok(connection)
    }

    /// What does not say that it writes, does not write: a query, and what is open for inspection. True when nothing
    /// can be written here, because the server follows another one.
    ///
    /// A server that hears nothing from us, not even from our kernel, ends the session with its transaction and its
    /// locks: as soon as we would.
    async fn set_up(&self) -> Result<bool> {
        let timeout = self.target.statement_timeout.as_millis();
        let sql = format!(
            "SET default_transaction_read_only = on; SET statement_timeout = {timeout};
             SET idle_in_transaction_session_timeout = {}; SET client_min_messages = warning;
             SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 4;
             SET tcp_user_timeout = 20000; SELECT pg_is_in_recovery()",
            timeout * 2
        );
        let answer = self.client.simple_query(&sql).await;
        let answer = answer.map_err(|error| unconnected(self.target.place(), error))?;
        Ok(answer.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
            _ => false,
        }))
    }

    /// Has the server end the session, and with it its locks, when it has heard nothing for `silence`, where it can
    /// (since version 14).
    pub(super) async fn end_after(&mut self, silence: Duration) -> Result<()> {
        let sql = "SELECT set_config(name, $1, FALSE) FROM pg_settings WHERE name = 'idle_session_timeout'";
        let silence = Value::Text(silence.as_millis().to_string());
        self.query(sql, &[silence], Place::Within).await.map(drop)
    }

    /// Whether the other side answers, within five seconds.
    pub(super) async fn answers(&mut self) -> bool {
        let answer = env::timeout(SIGN_OF_LIFE, self.client.batch_execute("")).await;
        self.broken |= !matches!(answer, Ok(Ok(())));
        self.is_good()
    }

    /// It may be used by somebody else.
    pub(super) fn is_good(&self) -> bool {
        !self.broken && !self.client.is_closed()
    }

    /// Nothing good may be expected of it any more.
    pub(super) fn give_up(&mut self) {
        self.broken = true;
    }

    /// Runs a statement; the number of rows that it changed.
    pub(super) async fn execute(
        &mut self,
        sql: &str,
        params: &[Value],
        place: Place,
    ) -> Result<u64> {
        let outcome = async {
            let Prepared { statement, .. } = self.prepare(sql, params).await?;
            let bound: Vec<_> = params.iter().map(Bound).collect();
            let references = references(&bound);
            let answer = self.client.execute(&statement, &references);
            self.placed(sql, place, answer).await
        };
        let outcome = outcome.await;
        self.note(sql, outcome)
    }

    /// Runs a statement to its end; all its rows.
    pub(super) async fn query(
        &mut self,
        sql: &str,
        params: &[Value],
        place: Place,
    ) -> Result<Vec<Row>> {
        let outcome = async {
            let Prepared {
                statement, columns, ..
            } = self.prepare(sql, params).await?;
            let bound: Vec<_> = params.iter().map(Bound).collect();
            let references = references(&bound);
            let answer = self.client.query(&statement, &references);
            let rows = self.placed(sql, place, answer).await?;
            rows.iter()
                .map(|row| read(row, &columns).map_err(|error| failed(sql, error)))
                .collect()
        };
        let outcome = outcome.await;
        self.note(sql, outcome)
    }

    /// Runs several statements without parameters, however long they take.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<()> {
        let outcome = self.client.batch_execute(sql).await;
        self.note(sql, outcome.map_err(|error| failed(sql, error)))
    }

    /// Sends `BEGIN` before the first statement of a transaction, without waiting for its answer.
    ///
    /// Should it fail, the statement runs by itself; but then it cannot write, as the session is
    /// [set up](Self::set_up).
    async fn placed<T>(
        &self,
        sql: &str,
        place: Place,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        match place {
            Place::Within => self.timely(sql, answer).await,
            Place::First => {
                let both = async {
                    let (begun, answer) =
                        tokio::join!(biased; self.client.batch_execute(BEGIN), answer);
                    Ok(begun
                        .map_err(unbegun)
                        .and(answer.map_err(|error| failed(sql, error))))
                };
                self.timely(sql, both).await?
            }
        }
    }

    /// Runs a statement without parameters, such as `COMMIT`, and lets the caller judge its error.
    pub(super) async fn control(&mut self, sql: &str) -> Result<(), Interrupted> {
        let limit = self.target.statement_timeout + GRACE;
        match env::timeout(limit, self.client.batch_execute(sql)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.broken |= kind(&error) == Kind::Connection;
                Err(Interrupted::Failed(error))
            }
            Err(_) => {
                self.broken = true;
                Err(Interrupted::Unanswered)
            }
        }
    }

    /// The next notification; `None` when the connection is lost.
    pub(super) async fn notified(&mut self) -> Option<String> {
        self.notifications.recv().await
    }

    /// Takes the statement from the cache, or prepares it.
    async fn prepare(&mut self, sql: &str, params: &[Value]) -> Result<Prepared> {
        self.clock += 1;
        let prepared = match self.prepared.get_mut(sql) {
            Some(prepared) => {
                prepared.used = self.clock;
                prepared.clone()
            }
            None => self.prepare_anew(sql).await?,
        };
        let expected = prepared.statement.params().len();
        if expected != params.len() {
            return Err(Error::Parameters {
                sql: sql.to_owned(),
                expected,
                given: params.len(),
            });
        }
        Ok(prepared)
    }

    async fn prepare_anew(&mut self, sql: &str) -> Result<Prepared> {
        let statement = self.timely(sql, self.client.prepare(sql)).await?;
        let columns = statement.columns().iter();
        let prepared = Prepared {
            columns: columns.map(|column| column.name().to_owned()).collect(),
            statement,
            used: self.clock,
        };
        if self.prepared.len() >= STATEMENT_CACHE {
            let oldest = self.prepared.iter().min_by_key(|(_, each)| each.used);
            if let Some(oldest) = oldest.map(|(sql, _)| Arc::clone(sql)) {
                self.prepared.remove(&oldest);
            }
        }
        self.prepared.insert(sql.into(), prepared.clone());
        Ok(prepared)
    }

    async fn timely<T>(
        &self,
        sql: &str,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        let limit = self.target.statement_timeout + GRACE;
        match env::timeout(limit, answer).await {
            Ok(outcome) => outcome.map_err(|error| failed(sql, error)),
            Err(_) => Err(unanswered(sql)),
        }
    }

    /// After a failure: whether the connection, and the prepared statement, may be used again.
    fn note<T>(&mut self, sql: &str, outcome: Result<T>) -> Result<T> {
        if let Err(Error::Statement { kind, .. }) = &outcome {
            self.broken |= *kind == Kind::Connection;
            self.prepared.remove(sql); // it may be out of date, and is prepared soon again
        }
        outcome
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.broken {
            self.task.abort(); // no last words to a server that does not answer
        }
    }
}

/// Why a `COMMIT` or the like has no good end.
pub(super) enum Interrupted {
    Failed(tokio_postgres::Error),
    Unanswered,
}

fn references<'b>(bound: &'b [Bound<'_>]) -> Vec<&'b (dyn ToSql + Sync)> {
    bound
        .iter()
        .map(|each| each as &(dyn ToSql + Sync))
        .collect()
}

fn read(row: &tokio_postgres::Row, columns: &Arc<[String]>) -> Result<Row, tokio_postgres::Error> {
    let values = (0..columns.len()).map(|column| row.try_get::<_, Read>(column).map(|read| read.0));
    Ok(Row::new(
        Arc::clone(columns),
        values.collect::<Result<_, _>>()?,
    ))
}

/// Of several hosts, what each says. While one of them may take us later, the database may.
fn together(target: &Target, mut failures: Vec<Error>) -> Error {
    let waits = |error: &Error| matches!(error, Error::Unavailable { .. });
    if failures.len() > 1 && failures.iter().any(waits) {
        let reasons = failures.iter().filter_map(std::error::Error::source);
        let reasons: Vec<_> = reasons.map(env::chain).collect();
        return unreachable(target, reasons.join("; "));
    }
    let last = failures.pop();
    last.unwrap_or_else(|| unreachable(target, "no host is named".to_owned()))
}

fn unreachable(target: &Target, why: String) -> Error {
    Error::Unavailable {
        path: target.place(),
        source: Arc::new(std::io::Error::other(why)),
    }
}
