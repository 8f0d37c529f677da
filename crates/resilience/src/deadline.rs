//! Calls that end in time: the caller's deadline, a limit of our own, or whichever is earlier.
//!
//! What runs below sees the deadline in its [`RequestContext`](env::RequestContext), and so passes on what is left.
//! A call whose time is over already is not made.

mod error;
mod future;
mod layer;
mod service;

pub use self::{
    error::{Elapsed, Error},
    future::ResponseFuture,
    layer::DeadlineLayer,
    service::DeadlineService,
};
