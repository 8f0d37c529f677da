//! The bodies of a call, which stream through us both ways.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum_core::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::call::Flight;

/// The body of an answer: the request is under way until it ends.
pub(super) struct InFlight<B> {
    body: B,
    flight: Option<Flight>,
}

impl<B> InFlight<B> {
    pub(super) fn new(body: B, flight: Flight) -> Self {
        Self {
            body,
            flight: Some(flight),
        }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for InFlight<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.flight = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, which stays ours until a connection asks for its first frame. As long as none has, the
/// request can be made again elsewhere.
#[derive(Clone)]
pub(super) struct Unsent(Arc<Mutex<Slot>>);

struct Slot {
    body: Body,
    touched: bool,
    broken: bool,
    /// Where it could not be sent to, or was not answered.
    avoid: Vec<SocketAddr>,
}

impl Unsent {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Slot {
            body,
            touched: false,
            broken: false,
            avoid: Vec::new(),
        })))
    }

    pub(super) fn into_body(self) -> Body {
        if self.lock().body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(self)
        }
    }

    pub(super) fn is_untouched(&self) -> bool {
        !self.lock().touched
    }

    /// Whether the body itself broke off, which is no fault of who reads it.
    pub(super) fn is_broken(&self) -> bool {
        self.lock().broken
    }

    /// Whether there is nothing to send, so that it can be sent any number of times.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    /// The addresses that failed the request, in the order of the attempts.
    pub(super) fn avoided(&self) -> Vec<SocketAddr> {
        self.lock().avoid.clone()
    }

    /// `address` has failed the request.
    pub(super) fn avoid(&self, address: SocketAddr) {
        self.lock().avoid.push(address);
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Unsent {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut slot = self.lock();
        slot.touched = true;
        let frame = ready!(Pin::new(&mut slot.body).poll_frame(cx));
        slot.broken |= matches!(frame, Some(Err(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}
