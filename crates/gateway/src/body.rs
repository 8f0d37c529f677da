//! Bodies on their way through: streamed, counted, and never waited for without end.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum_core::{Error, body::Body};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

/// What a client did wrong with the body of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is longer than it may be.
    TooLarge,
    /// Nothing more came for too long.
    Silent,
    /// The connection is gone.
    BrokenOff,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body is longer than it may be",
            Self::Silent => "nothing more of the body came",
            Self::BrokenOff => "the body broke off",
        })
    }
}

impl StdError for Fault {}

/// Breaks `body` off once whoever reads it has waited for `limit` with nothing coming.
pub(crate) fn never_silent(body: Body, limit: Duration) -> Body {
    Body::new(NeverSilent {
        body,
        limit,
        patience: None,
    })
}

struct NeverSilent {
    body: Body,
    limit: Duration,
    /// Runs only while a frame is waited for, so that a slow reader is no silence.
    patience: Option<BoxFuture<'static, ()>>,
}

impl HttpBody for NeverSilent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.patience = None;
            return Poll::Ready(frame);
        }
        let limit = self.limit;
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(env::sleep(limit)));
        ready!(patience.poll_unpin(cx));
        Poll::Ready(Some(Err(Error::new(Fault::Silent))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request that may hold `limit` bytes, and who is told what its client did wrong.
///
/// Trailers go no further: services do not expect any, and they are headers that nobody has looked at.
pub(crate) fn upload(body: Body, limit: u64) -> (Body, oneshot::Receiver<Fault>) {
    let (report, reported) = oneshot::channel();
    let upload = Upload {
        body,
        left: limit,
        report: Some(report),
    };
    (Body::new(upload), reported)
}

struct Upload {
    body: Body,
    left: u64,
    report: Option<oneshot::Sender<Fault>>,
}

impl Upload {
    /// Tells the fault before the reader learns that the body failed.
    fn fail(&mut self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(report) = self.report.take() {
            // Whoever waited for it may have its answer already.
            let _ = report.send(fault);
        }
        Poll::Ready(Some(Err(Error::new(fault))))
    }
}

/// Each boxed body adds a wrapper of its own around an error.
fn fault_of(error: &Error) -> Fault {
    let mut faults = env::causes(error).filter_map(|cause| cause.downcast_ref().copied());
    faults.next().unwrap_or(Fault::BrokenOff)
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => Poll::Ready(None),
            Some(Err(error)) => self.fail(fault_of(&error)),
            Some(Ok(frame)) => match frame.into_data() {
                Err(_trailers) => Poll::Ready(None),
                Ok(data) => match self.left.checked_sub(data.len() as u64) {
                    None => self.fail(Fault::TooLarge),
                    Some(left) => {
                        self.left = left;
                        Poll::Ready(Some(Ok(Frame::data(data))))
                    }
                },
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
