//! A group: a durable consumer for each partition, and what the group wants.
//!
//! Each consumer lets one event out at a time (`max_ack_pending` 1), so the server itself keeps the order within a
//! partition, however many replicas ask.
//!
//! What the group wants is the consumer's filter, and is written with more detail in its metadata. Who changes it reads
//! it, adds to it and writes it; the server knows no condition for that. So two that change it at once are told apart
//! by time: each looks again after a [moment](SETTLED) whether what it has added is still there.

use std::{collections::BTreeMap, time::Duration};

use async_nats::jetstream::{
    ErrorCode,
    consumer::{AckPolicy, DeliverPolicy, Info, pull},
    stream::{ConsumerError, ConsumerErrorKind},
};
use futures::future;

use super::{connection::Connection, stream, subject};
use crate::{Error, Result, pattern};

/// Under which a consumer's [`Interest`] is written into it.
const TYPES: &str = "outrigger-types";
/// After how long what was written is not overwritten any more by one who has read what was before.
const SETTLED: Duration = Duration::from_millis(200);
/// How often what was overwritten is written again.
const TRIES: u32 = 10;

/// What a group wants.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Interest {
    /// What was asked for, and after which place in the stream it counts.
    since: BTreeMap<String, u64>,
    /// Tells a consumer from the one before it of the same name.
    #[serde(default)]
    made: String,
}

/// Whether a group wants an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Yes,
    /// It came before its type was asked for.
    TooOld,
    /// Nobody has asked for its type, as far as is known here.
    Unknown,
}

impl Interest {
    /// Of a new consumer, in all that there is of `patterns`.
    fn new<'p>(patterns: impl IntoIterator<Item = &'p String>) -> Self {
        Self {
            since: patterns.into_iter().map(|it| (it.clone(), 0)).collect(),
            made: env::id().to_string(),
        }
    }

    /// Adds `patterns`, where `last` is the last place in the stream: what is wanted already counts as before.
    fn add(&mut self, patterns: &[String], last: u64) {
        for added in patterns {
            let including = self.since.iter();
            let including = including.filter(|(known, _)| pattern::includes(known, added));
            let since = including.map(|(_, since)| *since).min().unwrap_or(last);
            self.since.entry(added.clone()).or_insert(since);
        }
    }

    fn remove(&mut self, patterns: &[String]) {
        self.since.retain(|known, _| !patterns.contains(known));
    }

    fn has(&self, patterns: &[String]) -> bool {
        patterns.iter().all(|it| self.since.contains_key(it))
    }

    fn patterns(&self) -> Vec<String> {
        self.since.keys().cloned().collect()
    }

    pub(super) fn wants(&self, kind: &str, sequence: u64) -> Want {
        let covering = self
            .since
            .iter()
            .filter(|(it, _)| pattern::covers(it, kind));
        match covering.map(|(_, since)| *since).min() {
            Some(since) if sequence > since => Want::Yes,
            Some(_) => Want::TooOld,
            None => Want::Unknown,
        }
    }
}

/// Makes the consumers of `group`, or adds `patterns` to what they want. Returns that, of each partition.
pub(super) async fn join(
    connection: &Connection,
    partitions: u16,
    group: &str,
    patterns: &[String],
) -> Result<Vec<Interest>> {
    for _ in 0..TRIES {
        // Before the consumers are looked at: what is published after another replica has changed them must count.
        let info = stream::find(connection).await?;
        let last = info.map_or(0, |info| info.state.last_sequence);
        let joining = (0..partitions).map(async |partition| {
            let consumer = Consumer::of(connection, group, partition);
            consumer.add(patterns, last).await
        });
        let joined = future::try_join_all(joining).await?;
        if joined.iter().all(|it| !it.is_changed) {
            return Ok(joined.into_iter().map(|it| it.interest).collect());
        }
        env::sleep(SETTLED).await;
    }
    Err(Error::Unavailable {
        source: format!("what the group `{group}` wants is changed by others all the time").into(),
    })
}

/// Removes `patterns` from what `group` wants.
pub(super) async fn leave_out(
    connection: &Connection,
    partitions: u16,
    group: &str,
    patterns: &[String],
) -> Result<()> {
    for _ in 0..TRIES {
        let leaving_out = (0..partitions).map(async |partition| {
            let consumer = Consumer::of(connection, group, partition);
            consumer.remove(patterns).await
        });
        let changed = future::try_join_all(leaving_out).await?;
        if !changed.contains(&true) {
            break;
        }
        env::sleep(SETTLED).await;
    }
    Ok(())
}

/// Makes those consumers of `group` again that are gone, for what is `known` to have been wanted and for `patterns`.
pub(super) async fn restore(
    connection: &Connection,
    partitions: u16,
    group: &str,
    patterns: &[String],
    known: &[Interest],
) -> Result<Vec<Interest>> {
    let restoring = (0..partitions).map(async |partition| {
        let known = known.get(usize::from(partition));
        let consumer = Consumer::of(connection, group, partition);
        consumer.restore(patterns, known).await
    });
    future::try_join_all(restoring).await
}

/// The consumer of a group for a partition.
struct Consumer<'a> {
    connection: &'a Connection,
    group: &'a str,
    partition: u16,
    name: String,
}

/// What a consumer wants after it was looked at.
struct Joined {
    interest: Interest,
    /// Whether another may have overwritten it.
    is_changed: bool,
}

impl<'a> Consumer<'a> {
    fn of(connection: &'a Connection, group: &'a str, partition: u16) -> Self {
        let name = subject::consumer(group, partition);
        Self {
            connection,
            group,
            partition,
            name,
        }
    }

    async fn add(&self, patterns: &[String], last: u64) -> Result<Joined> {
        let Some(info) = find(self.connection, &self.name).await? else {
            let interest = Interest::new(patterns);
            let is_changed = !self.make(&interest).await?;
            return Ok(Joined {
                interest,
                is_changed,
            });
        };
        let mut interest = interest(&info);
        if interest == Interest::default() {
            // Somebody has removed it: what waits must not be taken for older than the wish for it.
            interest = Interest::new([]);
            interest.add(patterns, 0);
            self.update(&interest, &info).await?;
        }
        let is_changed = !interest.has(patterns);
        let options = &self.connection.target.options;
        let is_held_to_options =
            info.config.max_ack_pending == 1 && info.config.ack_wait == options.lease;
        if is_changed || !is_held_to_options {
            interest.add(patterns, last);
            self.update(&interest, &info).await?;
        }
        Ok(Joined {
            interest,
            is_changed,
        })
    }

    async fn remove(&self, patterns: &[String]) -> Result<bool> {
        let Some(info) = find(self.connection, &self.name).await? else {
            return Ok(false);
        };
        let known = interest(&info);
        let mut wanted = known.clone();
        wanted.remove(patterns);
        let is_changed = wanted != known;
        if is_changed {
            self.update(&wanted, &info).await?;
        }
        Ok(is_changed)
    }

    async fn restore(&self, patterns: &[String], known: Option<&Interest>) -> Result<Interest> {
        for _ in 0..TRIES {
            if let Some(info) = find(self.connection, &self.name).await? {
                let found = interest(&info);
                if found.has(patterns) || known.is_some_and(|known| known.made == found.made) {
                    return Ok(found);
                }
                // An older version of the service has made it, and has passed over what it does not know of.
                _ = self
                    .connection
                    .jetstream
                    .delete_consumer_from_stream(&self.name, self.stream())
                    .await;
            }
            let known = known.iter().flat_map(|known| known.since.keys());
            let wanted = Interest::new(known.chain(patterns));
            if self.make(&wanted).await? {
                return Ok(wanted);
            }
        }
        Err(self.unavailable("cannot be made: others make it too"))
    }

    /// Makes it, to begin at the beginning of the stream. False when there is another.
    async fn make(&self, interest: &Interest) -> Result<bool> {
        let config = self.config(interest, DeliverPolicy::All)?;
        let making = self
            .connection
            .jetstream
            .create_consumer_strict_on_stream(config, self.stream());
        match making.await {
            Ok(_) => Ok(true),
            Err(error) => match find(self.connection, &self.name).await? {
                Some(_) => Ok(false),
                None => Err(self.unavailable(&format!("cannot be made: {error}"))),
            },
        }
    }

    async fn update(&self, interest: &Interest, info: &Info) -> Result<()> {
        // Where it starts cannot be changed, and after a rewind is not the beginning.
        let config = self.config(interest, info.config.deliver_policy)?;
        let jetstream = &self.connection.jetstream;
        let updated = jetstream.update_consumer_on_stream(config, self.stream());
        let updated = updated.await;
        updated.map_err(|error| self.unavailable(&format!("cannot be changed: {error}")))?;
        Ok(())
    }

    fn config(&self, interest: &Interest, start: DeliverPolicy) -> Result<pull::Config> {
        Ok(pull::Config {
            durable_name: Some(self.name.clone()),
            description: Some(format!("{}, partition {}", self.group, self.partition)),
            deliver_policy: start,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.connection.target.options.lease,
            // When to give up is the consumer's decision, not the bus's.
            max_deliver: -1,
            max_ack_pending: 1,
            filter_subjects: subject::filters(self.stream(), self.partition, &interest.patterns()),
            metadata: [(TYPES.to_owned(), text(interest)?)].into(),
            ..pull::Config::default()
        })
    }

    fn stream(&self) -> &str {
        &self.connection.target.options.stream
    }

    fn unavailable(&self, what: &str) -> Error {
        Error::Unavailable {
            source: format!("the consumer `{}` {what}", self.name).into(),
        }
    }
}

/// What the group wants now in `partition`, by the server; another replica may have changed it.
pub(super) async fn wanted_now(
    connection: &Connection,
    group: &str,
    partition: u16,
) -> Result<Interest> {
    let name = subject::consumer(group, partition);
    let found = find(connection, &name).await?;
    found
        .as_ref()
        .map(interest)
        .ok_or_else(|| Error::Unavailable {
            source: format!("the consumer `{name}` is gone").into(),
        })
}

pub(super) async fn find(connection: &Connection, name: &str) -> Result<Option<Info>> {
    let stream = &connection.target.options.stream;
    let found = connection
        .jetstream
        .get_consumer_from_stream::<pull::Config, _, _>(name, stream);
    match found.await {
        Ok(consumer) => Ok(Some(consumer.cached_info().clone())),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(Error::Unavailable {
            source: format!("the consumer `{name}` cannot be looked up: {error}").into(),
        }),
    }
}

fn is_missing(error: &ConsumerError) -> bool {
    let ConsumerErrorKind::JetStream(reason) = error.kind() else {
        return false;
    };
    reason.error_code() == ErrorCode::CONSUMER_NOT_FOUND
}

/// Has a consumer deliver all of what its group wants now, however long ago it was published.
pub(super) fn want_from_the_start(config: &mut pull::Config, info: &Info) -> Result<()> {
    let interest = Interest::new(interest(info).since.keys());
    config.metadata = [(TYPES.to_owned(), text(&interest)?)].into();
    Ok(())
}

fn text(interest: &Interest) -> Result<String> {
    serde_json::to_string(interest).map_err(|error| Error::Unavailable {
        source: error.into(),
    })
}

fn interest(info: &Info) -> Interest {
    let text = info.config.metadata.get(TYPES);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interest_only_grows_and_what_is_added_counts_from_then() {
        let types = |types: &[&str]| types.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let mut interest = Interest::new(&types(&["order.*"]));
        interest.add(&types(&["order.created", "user.updated"]), 7);
        interest.add(&types(&["user.*"]), 9);
        assert_eq!(interest.wants("order.created", 1), Want::Yes);
        assert_eq!(interest.wants("user.updated", 7), Want::TooOld);
        assert_eq!(interest.wants("user.updated", 8), Want::Yes);
        assert_eq!(interest.wants("user.registered", 9), Want::TooOld);
        assert_eq!(interest.wants("price.changed", 10), Want::Unknown);
        interest.remove(&types(&["order.*", "user.updated"]));
        assert_eq!(interest.wants("order.created", 1), Want::Yes);
        assert_eq!(interest.wants("order.paid", 10), Want::Unknown);
        assert_eq!(interest.wants("user.updated", 8), Want::TooOld);
    }
}
