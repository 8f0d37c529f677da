//! Hedged requests: where an answer takes longer than it mostly does, a second request is sent, and the first good
//! answer counts. (J. Dean and L. Barroso, "The Tail at Scale", CACM 2013: it cuts the slowest answers for a few per
//! cent more requests.)
//!
//! What is guaranteed: at most one request more for each call, only of those that may be made twice, and all together
//! no more than the budget of retries allows. The request that loses is dropped.
//!
//! [`latency`] holds the measure of "longer than mostly", without clock.

mod error;
mod future;
pub mod latency;
mod layer;
mod service;

use std::time::Duration;

pub use self::{
    error::{Error, Outcome},
    future::ResponseFuture,
    latency::Latency,
    layer::HedgeLayer,
    service::HedgeService,
};

/// When a second request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delay {
    /// After this time.
    Fixed(Duration),
    /// After the time in which so large a share of the latest calls was answered.
    Share {
        /// The share, from 0 to 1, such as 0.95.
        share: f64,
        /// But never sooner than this.
        least: Duration,
    },
}

impl Default for Delay {
    /// After the time in which 95% are answered, and at least 5 ms.
    fn default() -> Self {
        Self::Share {
            share: 0.95,
            least: Duration::from_millis(5),
        }
    }
}
