//! Tower layers that keep a failing dependency from taking its callers with it.
//!
//! | module | subject |
//! |---|---|
//! | [`breaker`] | stop calling what fails, and find out when it works again |
//! | [`rate_limit`] | so many requests for each key and time (GCRA), and a word on when to come again |

pub mod breaker;
pub mod rate_limit;

pub use breaker::Breaker;
