//! A call with a deadline, under way.

use std::{future::Future, pin::Pin};

use super::Error;

/// The answer of a [`DeadlineService`](super::DeadlineService). Boxed, for it runs within a scope and a time limit that
/// have no names.
pub type ResponseFuture<R, E> = Pin<Box<dyn Future<Output = Result<R, Error<E>>> + Send>>;
