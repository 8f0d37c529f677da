//! A group: a durable consumer for each partition, and what the group wants.
//!
//! Each consumer lets one event out at a time (`max_ack_pending` 1), so the server itself keeps the order within a
//! partition, however many replicas ask.

use std::collections::BTreeMap;

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

/// What a group wants: patterns, and after which place in the stream each counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Interest {
    /// What was asked for last.
    patterns: Vec<String>,
    /// The same, and what it includes that was asked for before, with the place.
    since: BTreeMap<String, u64>,
}

/// Whether a group wants an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Yes,
    /// It came before its type was asked for.
    TooOld,
    /// Nobody asked for its type, as far as is known here.
    Unknown,
}

impl Interest {
    fn new(patterns: &[String]) -> Self {
        let mut patterns = patterns.to_vec();
        patterns.sort_unstable();
        patterns.dedup();
        let since = patterns.iter().map(|it| (it.clone(), 0)).collect();
        Self { patterns, since }
    }

    /// The interest in `patterns` from now on, where `last` is the last place in the stream: what was wanted before
    /// and is wanted still counts as before.
    fn changed(&self, patterns: &[String], last: u64) -> Self {
        let mut changed = Self::new(patterns);
        for (added, since) in &mut changed.since {
            let before = self.since.iter();
            let included = before.filter(|(old, _)| pattern::includes(old, added));
            *since = included.map(|(_, since)| *since).min().unwrap_or(last);
        }
        for (old, since) in &self.since {
            if changed
                .patterns
                .iter()
                .any(|new| pattern::includes(new, old))
            {
                let entry = changed.since.entry(old.clone()).or_insert(*since);
                *entry = (*entry).min(*since);
            }
        }
        changed
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

/// Makes the consumers of `group`, or changes them to `patterns`. Returns what the group wants in each partition.
pub(super) async fn join(
    connection: &Connection,
    partitions: u16,
    group: &str,
    patterns: &[String],
) -> Result<Vec<Interest>> {
    // Before the consumers are looked at: what is published after another replica has changed them must count.
    let info = stream::find(connection).await?;
    let last = info.map_or(0, |info| info.state.last_sequence);
    let joining = (0..partitions)
        .map(|partition| join_partition(connection, group, partition, patterns, Some(last)));
    future::try_join_all(joining).await
}

/// Makes those consumers of `group` again that are gone. What others have made of the rest stays.
pub(super) async fn restore(
    connection: &Connection,
    partitions: u16,
    group: &str,
    patterns: &[String],
) -> Result<Vec<Interest>> {
    let restoring = (0..partitions)
        .map(|partition| join_partition(connection, group, partition, patterns, None));
    future::try_join_all(restoring).await
}

/// Without `last`, a consumer that is there is left as it is.
async fn join_partition(
    connection: &Connection,
    group: &str,
    partition: u16,
    patterns: &[String],
    last: Option<u64>,
) -> Result<Interest> {
    let options = &connection.target.options;
    let name = subject::consumer(group, partition);
    let (interest, start) = match find(connection, &name).await? {
        None => (Interest::new(patterns), None),
        Some(info) => {
            let known = interest(&info);
            let wanted = Interest::new(patterns);
            let same = known.patterns == wanted.patterns
                && info.config.max_ack_pending == 1
                && info.config.ack_wait == options.lease;
            match last {
                // Where it starts cannot be changed, and after a rewind is not the beginning.
                Some(last) if !same => (
                    known.changed(patterns, last),
                    Some(info.config.deliver_policy),
                ),
                _ => return Ok(known),
            }
        }
    };
    let is_new = start.is_none();
    let config = pull::Config {
        durable_name: Some(name.clone()),
        description: Some(format!("{group}, partition {partition}")),
        deliver_policy: start.unwrap_or(DeliverPolicy::All),
        ack_policy: AckPolicy::Explicit,
        ack_wait: options.lease,
        // When to give up is the consumer's decision, not the bus's.
        max_deliver: -1,
        max_ack_pending: 1,
        filter_subjects: subject::filters(&options.stream, partition, patterns),
        metadata: [(TYPES.to_owned(), text(&interest)?)].into(),
        ..pull::Config::default()
    };
    let stream = &options.stream;
    let jetstream = &connection.jetstream;
    let failed = |error: String| Error::Unavailable {
        source: format!("the consumer `{name}` cannot be made: {error}").into(),
    };
    if is_new {
        let made = jetstream.create_consumer_on_stream(config, stream).await;
        made.map_err(|error| failed(error.to_string()))?;
    } else {
        let updated = jetstream.update_consumer_on_stream(config, stream).await;
        updated.map_err(|error| failed(error.to_string()))?;
    }
    Ok(interest)
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
    let interest = Interest::new(&interest(info).patterns);
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
