//! The stream that holds the events: made on start where there is none, and else held to what the guarantees need.

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType},
};

use super::{connection::Connection, options::Options, subject, whole};
use crate::{Error, Result};

/// Under which the number of partitions is written into the stream.
pub(super) const PARTITIONS: &str = "outrigger-partitions";
/// Of a new stream.
const DEFAULT_PARTITIONS: u16 = 16;

/// What those who use a stream go by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Properties {
    pub(super) partitions: u16,
    /// Whether it takes [batches as a whole](whole), and the server gains by it.
    pub(super) takes_batches: bool,
}

/// Makes the stream, or checks the one that is there.
pub(super) async fn ensure(connection: &Connection) -> Result<Properties> {
    let options = &connection.target.options;
    let batches = whole::is_known_to(connection);
    let properties = |found: &Config| {
        Ok(Properties {
            partitions: check(found, options)?,
            takes_batches: batches && found.allow_atomic_publish,
        })
    };
    if let Some(info) = find(connection).await? {
        return properties(&info.config);
    }
    let wanted = Config {
        allow_atomic_publish: batches,
        ..config(options)
    };
    match connection.jetstream.create_stream(wanted).await {
        Ok(stream) => properties(&stream.cached_info().config),
        Err(error) => match find(connection).await? {
            // Another was first.
            Some(info) => properties(&info.config),
            None => Err(Error::Unavailable {
                source: format!("the stream `{}` cannot be made: {error}", options.stream).into(),
            }),
        },
    }
}

/// How long the stream keeps an event; it may have been changed since it was made.
pub(super) async fn retention(connection: &Connection) -> Result<Duration> {
    let found = find(connection).await?;
    let max_age = found.map_or(connection.target.options.max_age, |info| {
        info.config.max_age
    });
    Ok(match max_age {
        Duration::ZERO => Duration::MAX,
        bounded => bounded,
    })
}

/// The stream, if there is one.
pub(super) async fn find(connection: &Connection) -> Result<Option<Info>> {
    use async_nats::jetstream::{context::GetStreamErrorKind, stream::Stream};
    let name = &connection.target.options.stream;
    match connection.jetstream.get_stream(name).await {
        Ok(stream) => Ok(Some(Stream::cached_info(&stream).clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(reason)
                if reason.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            GetStreamErrorKind::JetStream(reason)
                if [
                    ErrorCode::JETSTREAM_NOT_ENABLED,
                    ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
                ]
                .contains(&reason.error_code()) =>
            {
                Err(Error::Unsuitable {
                    what: format!("the NATS server {}", connection.target.name()),
                    reason: "JetStream is not enabled; start it with `jetstream {}` in its configuration"
                        .to_owned(),
                })
            }
            _ => Err(Error::Unavailable {
                source: format!("the stream `{name}` cannot be looked up: {error}").into(),
            }),
        },
    }
}

fn config(options: &Options) -> Config {
    let partitions = options.partitions.unwrap_or(DEFAULT_PARTITIONS);
    Config {
        name: options.stream.clone(),
        description: Some("events of an Outrigger system".to_owned()),
        subjects: vec![subject::all(&options.stream)],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        // A full stream refuses; it never drops what somebody has still to handle.
        discard: DiscardPolicy::New,
        max_bytes: options.max_bytes.unwrap_or(-1),
        max_age: options.max_age,
        duplicate_window: options.dedupe_window,
        num_replicas: options.replicas,
        allow_direct: true,
        metadata: [(PARTITIONS.to_owned(), partitions.to_string())].into(),
        ..Config::default()
    }
}

/// What about a stream breaks a guarantee. What merely differs is for [`check`](super::check) to say.
pub(super) fn check(found: &Config, options: &Options) -> Result<u16> {
    let partitions = found
        .metadata
        .get(PARTITIONS)
        .and_then(|it| it.parse().ok());
    let partitions: u16 = partitions.filter(|it| *it > 0).ok_or_else(|| {
        unsuitable(options, format!("its metadata has no `{PARTITIONS}`, so it was not made by this program; name another stream"))
    })?;
    let subjects = subject::all(&options.stream);
    let bounded = found.max_bytes > 0 || found.max_messages > 0;
    let drops =
        bounded && found.discard == DiscardPolicy::Old || found.max_messages_per_subject > 0;
    for (broken, reason) in [
        (
            options.partitions.is_some_and(|it| it != partitions),
            format!(
                "it has {partitions} partitions, not {}; they cannot change, for keys would change their places: \
                 set `partitions` to {partitions} or leave it out",
                options.partitions.unwrap_or_default()
            ),
        ),
        (
            !found.subjects.contains(&subjects),
            format!("its subjects are {:?}; it must have `{subjects}`", found.subjects),
        ),
        (
            found.retention != RetentionPolicy::Limits,
            "its retention is not `limits`, so that a new group would miss what others have handled".to_owned(),
        ),
        (
            found.storage != StorageType::File,
            "it is kept in memory, so that a restart of the server loses it; its storage must be `file`".to_owned(),
        ),
        (
            drops,
            "when it is full it drops old events, handled or not; set `discard` to `new`, and no limit for each subject"
                .to_owned(),
        ),
        (found.no_ack, "it does not acknowledge; unset `no_ack`".to_owned()),
        (found.sealed, "it is sealed, and takes nothing more".to_owned()),
    ] {
        if broken {
            return Err(unsuitable(options, reason));
        }
    }
    Ok(partitions)
}

fn unsuitable(options: &Options, reason: String) -> Error {
    Error::Unsuitable {
        what: format!("the NATS stream `{}`", options.stream),
        reason,
    }
}
