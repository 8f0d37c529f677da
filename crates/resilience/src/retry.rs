//! Calls that failed are made again: a bounded number of times, after a random wait, as far as the budget reaches.
//!
//! What is guaranteed: no attempt is made whose wait would end after the caller's deadline; a `Retry-After` of the
//! service is kept to the moment, or the call is given up; and the attempts beyond the first are, over any ten seconds,
//! no more than a fifth of the calls and a few a second ([`Budget`]), so that retries cannot multiply an outage.
//!
//! The rules are plain functions: [`policy`] decides about one attempt, [`backoff`] how long to wait, [`budget`] what
//! all calls together may spend.

pub mod backoff;
pub mod budget;
mod error;
mod future;
mod layer;
pub mod policy;
mod service;

pub use self::{
    backoff::Backoff,
    budget::Budget,
    error::GaveUp,
    future::ResponseFuture,
    layer::RetryLayer,
    policy::{Settings, Verdict},
    service::RetryService,
};
