//! A batch that the server takes whole or not at all ("atomic batch publishing", NATS ADR-50).
//!
//! With `sync_interval: always` a server syncs once for each message that it takes by itself, and four times for such a
//! batch, however long it is (since 2.15; before that it gains nothing, and is not asked for). And within it the
//! order is that in which it was sent, so events of one key need not wait for each other.
//!
//! A batch with an id that the server knows is refused whole. It is then sent [one by one](super::publish), where each
//! known id is left out by itself.

use async_nats::{HeaderValue, header, jetstream::message::PublishMessage};

use super::{
    connection::{Connection, version},
    publish::{Outgoing, refusal, unavailable},
};
use crate::{Error, Result};

/// The first version that syncs a batch, and not each of its messages.
const SINCE: (u32, u32) = (2, 15);
/// Fewer than that cost less one by one: the server keeps a batch in files of its own until it is whole.
const LEAST: usize = 16;
/// As many as a server takes, unless its `max_batch_size` says otherwise.
const MOST: usize = 1000;
/// How many bytes the headers of a batch have at most, for each message.
const HEADERS: usize = 128;

/// Whether the server knows such batches and gains by them.
pub(super) fn is_known_to(connection: &Connection) -> bool {
    version(&connection.client.server_info().version) >= SINCE
}

/// Whether it is worth it, and can be done.
pub(super) fn suits(batch: &[Outgoing], limit: usize) -> bool {
    (LEAST..=MOST).contains(&batch.len()) && batch.iter().all(|it| it.size + HEADERS <= limit)
}

/// Sends `batch`. False when the server has refused it.
pub(super) async fn send(connection: &Connection, mut batch: Vec<Outgoing>) -> Result<bool> {
    let id: HeaderValue = env::id().to_string().into();
    for (place, part) in (1_u32..).zip(&mut batch) {
        part.headers.insert(header::NATS_BATCH_ID, id.clone());
        part.headers
            .insert(header::NATS_BATCH_SEQUENCE, place.to_string());
    }
    let Some(mut last) = batch.pop() else {
        return Ok(true);
    };
    let client = &connection.client;
    for part in batch {
        // None of them is answered. What is wrong with one is told when the last has come.
        let sent = client.publish_with_headers(part.subject, part.headers, part.payload);
        sent.await.map_err(|error| Error::Unavailable {
            source: error.into(),
        })?;
    }
    let commit = header::NATS_BATCH_COMMIT_FINAL;
    last.headers.insert(header::NATS_BATCH_COMMIT, commit);
    let message = PublishMessage::build()
        .headers(last.headers)
        .payload(last.payload);
    let committed = async {
        let sent = connection.jetstream.send_publish(last.subject, message);
        sent.await?.await
    };
    match committed.await {
        Ok(_) => Ok(true),
        Err(error) => match refusal(&error) {
            Some(reason) => {
                tracing::debug!(code = reason.0, "NATS takes no batch as a whole");
                Ok(false)
            }
            None => Err(unavailable("a batch", &error)),
        },
    }
}
