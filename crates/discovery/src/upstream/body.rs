//! The bodies of a call, which stream through us both ways.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum_core::body::Body;
use bytes::Bytes;
use env::BoxError;
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

/// So much of a body is kept, in bytes, so that it can be sent once more: 64 KiB.
pub(super) const KEPT: usize = 64 * 1024;

/// The body of a request, which can be sent from its beginning as long as all that was read of it is kept.
#[derive(Clone)]
pub(super) struct Repeatable(Arc<Mutex<Slot>>);

struct Slot {
    body: Body,
    /// What was read of it; `None` once that is too much.
    kept: Option<Vec<Bytes>>,
    /// So many bytes may be kept still.
    room: usize,
    /// Who reads: one that was given the body before reads no more.
    turn: u64,
    ended: bool,
    broken: bool,
    /// Where it could not be sent to, or was not answered.
    avoid: Vec<SocketAddr>,
}

impl Repeatable {
    /// A body of which up to `room` bytes are kept.
    pub(super) fn new(body: Body, room: usize) -> Self {
        Self(Arc::new(Mutex::new(Slot {
            ended: body.is_end_stream(),
            body,
            kept: Some(Vec::new()),
            room,
            turn: 0,
            broken: false,
            avoid: Vec::new(),
        })))
    }

    /// The body from its beginning; whoever was given it before is told that it broke off.
    pub(super) fn to_body(&self) -> Body {
        let mut slot = self.lock();
        if slot.is_empty() {
            return Body::empty();
        }
        slot.turn += 1;
        Body::new(Reading {
            of: self.clone(),
            turn: slot.turn,
            next: 0,
        })
    }

    /// Whether it can be sent from its beginning.
    pub(super) fn is_whole(&self) -> bool {
        self.lock().kept.is_some()
    }

    /// Whether the body itself broke off, which is no fault of who reads it.
    pub(super) fn is_broken(&self) -> bool {
        self.lock().broken
    }

    /// Whether there is nothing to send, so that it can be sent any number of times.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
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

impl Slot {
    fn is_empty(&self) -> bool {
        self.ended && self.kept.as_ref().is_some_and(Vec::is_empty)
    }

    fn kept_from(&self, next: usize) -> &[Bytes] {
        let kept = self.kept.as_deref().unwrap_or_default();
        kept.get(next..).unwrap_or_default()
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        // Trailers come last, and are not kept.
        let data = frame.data_ref().filter(|data| data.len() <= self.room);
        match (&mut self.kept, data) {
            (Some(kept), Some(data)) => {
                self.room -= data.len();
                kept.push(data.clone());
            }
            (kept, _) => *kept = None,
        }
    }
}

/// The body as one connection reads it.
struct Reading {
    of: Repeatable,
    turn: u64,
    /// So many of the kept frames it has had.
    next: usize,
}

impl HttpBody for Reading {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let of = self.of.clone();
        let mut slot = of.lock();
        if slot.turn != self.turn {
            let superseded = "the request is made again elsewhere";
            return Poll::Ready(Some(Err(superseded.into())));
        }
        if let Some(data) = slot.kept_from(self.next).first() {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        if slot.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut slot.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                slot.keep(frame);
                self.next += 1;
            }
            Some(Err(_)) => (slot.broken, slot.kept) = (true, None),
            None => slot.ended = true,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        let slot = self.of.lock();
        slot.kept_from(self.next).is_empty() && (slot.ended || slot.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let slot = self.of.lock();
        let kept: u64 = slot
            .kept_from(self.next)
            .iter()
            .map(|data| data.len() as u64)
            .sum();
        let rest = slot.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(kept + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(kept + upper);
        }
        hint
    }
}
