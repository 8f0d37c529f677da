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
//! The price is one round trip to the server for each further event of a key in a batch.

use std::collections::BTreeMap;

use async_nats::{
    HeaderMap,
    jetstream::{self, ErrorCode, context::PublishErrorKind, message::PublishMessage},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{connection::Connection, message, subject};
use crate::{CloudEvent, Error, Result};

/// So many messages are on their way at the same time.
const IN_FLIGHT: usize = 256;

/// An event as it is sent.
struct Outgoing {
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
    id: String,
    kind: String,
}

/// Publishes `batch`; when it resolves with `Ok`, the server has all of it.
pub(super) async fn publish(
    connection: &Connection,
    number: u64,
    partitions: u16,
    batch: &[CloudEvent],
) -> Result<()> {
    // Before anything is sent, so that what cannot be sent leaves nothing behind.
    let limit = connection.client.server_info().max_payload;
    let mut chains: BTreeMap<&str, Vec<Outgoing>> = BTreeMap::new();
    for event in batch {
        let outgoing = prepare(&connection.target.options.stream, partitions, limit, event)?;
        chains.entry(event.key()).or_default().push(outgoing);
    }
    let sending = stream::iter(chains.into_values())
        .map(|chain| send_chain(connection, chain))
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>();
    tokio::select! {
        biased;
        sent = sending => sent,
        // What was on its way may have been lost with the connection; waiting for its answer would be in vain.
        () = connection.lost(number) => Err(connection.away()),
    }
}

fn prepare(stream: &str, partitions: u16, limit: usize, event: &CloudEvent) -> Result<Outgoing> {
    let (headers, payload) = message::write(event)?;
    let size = message::size(&headers, &payload);
    if size > limit {
        return Err(too_large(&event.kind, &event.id, size, limit));
    }
    let partition = subject::partition(event.key(), partitions);
    Ok(Outgoing {
        subject: subject::of(stream, partition, &event.kind),
        headers,
        payload,
        id: event.id.clone(),
        kind: event.kind.clone(),
    })
}

async fn send_chain(connection: &Connection, chain: Vec<Outgoing>) -> Result<()> {
    for outgoing in chain {
        send(connection, outgoing).await?;
    }
    Ok(())
}

async fn send(connection: &Connection, outgoing: Outgoing) -> Result<()> {
    let size = message::size(&outgoing.headers, &outgoing.payload);
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
    let refused = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<jetstream::Error>())
        .map(jetstream::Error::error_code);
    if error.kind() == PublishErrorKind::MaxPayloadExceeded
        || refused == Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)
    {
        let limit = connection.client.server_info().max_payload.min(size);
        return Err(too_large(&outgoing.kind, &outgoing.id, size, limit));
    }
    Err(Error::Unavailable {
        source: format!(
            "event {} was not taken on {}: {}",
            outgoing.id,
            outgoing.subject,
            env::chain(&error)
        )
        .into(),
    })
}

fn too_large(kind: &str, id: &str, size: usize, limit: usize) -> Error {
    Error::TooLarge {
        kind: kind.to_owned(),
        id: id.to_owned(),
        size,
        limit,
    }
}
