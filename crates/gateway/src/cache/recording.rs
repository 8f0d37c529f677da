//! A body that is kept while it streams past.

use std::sync::Arc;

use axum_core::{Error, body::Body};
use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};

use super::store::{Store, Stored};

/// Passes `body` on frame by frame, and stores it under `key` when all of it was there.
///
/// Stored before the last frame goes on: who has read an answer to its end and asks again gets a hit. A
/// body that grows too long, breaks off, is dropped or has trailers is not stored.
pub(super) fn record(body: Body, store: Store, key: String, answer: Stored) -> Body {
    let size_hint = body.size_hint().exact();
    let kept = BytesMut::with_capacity(size_hint.map_or(0, |size| size as usize));
    let recording = Recording {
        body,
        kept: Some((kept, key, answer)),
        store,
    };
    let frames = stream::unfold(recording, |mut recording| async move {
        let frame = recording.next().await?;
        Some((frame, recording))
    });
    Body::new(StreamBody::new(frames))
}

struct Recording {
    body: Body,
    /// What is kept so far; nothing once it is known that it will not be stored, or has been.
    kept: Option<(BytesMut, String, Stored)>,
    store: Store,
}

impl Recording {
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        let frame = self.body.frame().await;
        match &frame {
            Some(Ok(frame)) => self.keep(frame),
            Some(Err(_)) => self.kept = None,
            None => {}
        }
        // A body of known length is over with its last frame; nobody asks for another.
        if frame.is_none() || self.body.is_end_stream() {
            self.finish().await;
        }
        frame
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let limit = self.store.entry();
        let Some((kept, ..)) = &mut self.kept else {
            return;
        };
        match frame.data_ref() {
            Some(data) if data.len() <= limit - kept.len() => kept.extend_from_slice(data),
            _ => self.kept = None,
        }
    }

    async fn finish(&mut self) {
        if let Some((body, key, answer)) = self.kept.take() {
            let answer = answer.with_body(body.freeze());
            self.store.put(key, Arc::new(answer)).await;
        }
    }
}
