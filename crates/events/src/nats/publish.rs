//! Publishing in order.
//!
//! **Why it is done so.** A batch could be sent whole, and its acknowledgements awaited. But one of its messages can
//! fail while a later one is taken: the connection breaks between the two and the client sends the rest on the next
//! one, a cluster changes its leader, the store is full for a moment. The batch is then published again, the server
//! knows the later one by its id and keeps it where it is, before the one that failed: two events of one key have
//! changed places for good.
//!
//! So an event is sent only when the one before it **of its key** is acknowledged; those of different keys are on
//! their way at the same time. The stream then has, of every key, always a beginning of what was published, whatever
//! fails and however often a batch is published again: what is there already is recognised by its id
//! (`Nats-Msg-Id`), and what the server's window has forgotten follows once more *behind* the first, which the
//! consumer's inbox drops. What consumers see first is in order, always.
//!
//! The price is one round trip to the server for each further event of a key in a batch, and one sync of the server's for
//! each event. Where the server takes a batch [as a whole](super::whole), nothing of it can fail by itself, and neither
//! is paid.

use std::collections::BTreeMap;

use async_nats::{
    HeaderMap,
    jetstream::{
        self, ErrorCode,
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
    },
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{connection::Connection, message, stream::Properties, subject, whole};
use crate::{CloudEvent, Error, Result};

/// So many messages are on their way at the same time.
const IN_FLIGHT: usize = 256;

/// An event as it is sent.
pub(super) struct Outgoing {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    /// How many bytes of the server's `max_payload` it takes.
    pub(super) size: usize,
    key: String,
    id: String,
    kind: String,
}

/// Publishes `batch`; when it resolves with `Ok`, the server has all of it.
pub(super) async fn publish(
    connection: &Connection,
    number: u64,
    stream: Properties,
    batch: &[CloudEvent],
) -> Result<()> {
    // Before anything is sent, so that what cannot be sent leaves nothing behind.
    let outgoing = prepare(connection, stream, batch)?;
    let limit = connection.client.server_info().max_payload;
    let sending = async {
        if !stream.takes_batches || !whole::suits(&outgoing, limit) {
            send_each(connection, outgoing).await
        } else if !whole::send(connection, outgoing).await? {
            send_each(connection, prepare(connection, stream, batch)?).await
        } else {
            Ok(())
        }
    };
    tokio::select! {
        biased;
        sent = sending => sent,
        // What was on its way may have been lost with the connection; waiting for its answer would be in vain.
        () = connection.lost(number) => Err(connection.away()),
    }
}

fn prepare(
    connection: &Connection,
    stream: Properties,
    batch: &[CloudEvent],
) -> Result<Vec<Outgoing>> {
    let limit = connection.client.server_info().max_payload;
    let name = &connection.target.options.stream;
    let prepare = |event: &CloudEvent| {
        let (headers, payload) = message::write(event)?;
        let size = message::size(&headers, &payload);
        if size > limit {
            return Err(too_large(&event.kind, &event.id, size, limit));
        }
        let partition = subject::partition(event.key(), stream.partitions);
        Ok(Outgoing {
            subject: subject::of(name, partition, &event.kind),
            headers,
            payload,
            size,
            key: event.key().to_owned(),
            id: event.id.clone(),
            kind: event.kind.clone(),
        })
    };
    batch.iter().map(prepare).collect()
}

/// Sends events by themselves: of different keys at the same time, of one key one after the other.
async fn send_each(connection: &Connection, batch: Vec<Outgoing>) -> Result<()> {
    let mut chains: BTreeMap<String, Vec<Outgoing>> = BTreeMap::new();
    for outgoing in batch {
        chains
            .entry(outgoing.key.clone())
            .or_default()
            .push(outgoing);
    }
    stream::iter(chains.into_values())
        .map(|chain| send_chain(connection, chain))
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await
}

async fn send_chain(connection: &Connection, chain: Vec<Outgoing>) -> Result<()> {
    for outgoing in chain {
        send(connection, outgoing).await?;
    }
    Ok(())
}

async fn send(connection: &Connection, outgoing: Outgoing) -> Result<()> {
    let publish = PublishMessage::build()
        .headers(outgoing.headers)
        .payload(outgoing.payload);
    let sent = async {
        let subject = outgoing.subject.clone();
        connection
            .jetstream
            .send_publish(subject, publish)
            .await?
            .await
    };
    let Err(error) = sent.await else {
        return Ok(());
    };
    if error.kind() == PublishErrorKind::MaxPayloadExceeded
        || refusal(&error) == Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)
    {
        let (size, limit) = (outgoing.size, connection.client.server_info().max_payload);
        return Err(too_large(
            &outgoing.kind,
            &outgoing.id,
            size,
            limit.min(size),
        ));
    }
    let what = format!("event {} on {}", outgoing.id, outgoing.subject);
    Err(unavailable(&what, &error))
}

/// What the server has answered, where it has refused.
pub(super) fn refusal(error: &PublishError) -> Option<ErrorCode> {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<jetstream::Error>())
        .map(jetstream::Error::error_code)
}

/// That `what` was not taken, as far as is known here.
pub(super) fn unavailable(what: &str, error: &PublishError) -> Error {
    let advice = match refusal(error) {
        Some(ErrorCode::STREAM_STORE_FAILED) => {
            "; if its stream is full, events wait until `max_bytes` is raised or old ones are removed"
        }
        Some(
            ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ) => {
            "; the server's store is full, events wait until `max_file_store` is raised or old ones are removed"
        }
        _ => "",
    };
    let source = format!("{what} was not taken: {}{advice}", env::chain(error));
    Error::Unavailable {
        source: source.into(),
    }
}

fn too_large(kind: &str, id: &str, size: usize, limit: usize) -> Error {
    Error::TooLarge {
        kind: kind.to_owned(),
        id: id.to_owned(),
        size,
        limit,
    }
}
