//! A call through a bulkhead, waiting or under way.

use std::{future::Future, pin::Pin};

use super::Error;

/// The answer of a [`BulkheadService`](super::BulkheadService). Boxed, for the wait has no name. Its place is free when
/// it ends or is dropped.
pub type ResponseFuture<R, E> = Pin<Box<dyn Future<Output = Result<R, Error<E>>> + Send>>;
