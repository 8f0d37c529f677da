//! What a client still sends of a request that is answered already is read for a while, and thrown away.
//!
//! A connection that is closed with bytes unread is reset, and a client that is still sending learns of that before it
//! reads the answer that says why (RFC 9112, section 9.6): 413, 401, 429.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{HeaderMap, Version, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;

/// How long the rest of a request is read.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many bytes of it.
const MOST: usize = 64 * 1024 * 1024;

/// The body of a request, whose rest is read for a while when nobody wants it any more.
pub struct Lingering {
    /// There until it is dropped.
    body: Option<Incoming>,
    lingers: bool,
}

impl Lingering {
    /// The body of a request that has this version and these headers.
    ///
    /// Over HTTP/2 a stream ends without the others. And a client that asked whether it should go on is not sending.
    pub(super) fn new(body: Incoming, version: Version, headers: &HeaderMap) -> Self {
        Self {
            body: Some(body),
            lingers: version < Version::HTTP_2 && !headers.contains_key(header::EXPECT),
        }
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        // Without a runtime the connection is gone too.
        if let (true, Some(body), Ok(runtime)) = (self.lingers, unread, Handle::try_current()) {
            runtime.spawn(env::timeout(PATIENCE, read(body)));
        }
    }
}

async fn read(mut body: Incoming) {
    let mut left = MOST;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(read) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let known = self.body.as_ref().map(Body::size_hint);
        known.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}
