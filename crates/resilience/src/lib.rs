//! What keeps a failing dependency from taking its callers with it, and a caller from taking more than its share.
//!
//! Each part is rules without clock or lock, and a cheap handle that callers share. Time and chance come from
//! `env`, so all of it runs in a simulation.
//!
//! | module | subject |
//! |---|---|
//! | [`breaker`] | stop calling what fails, and find out when it works again |
//! | [`rate_limit`] | so many requests for each key and time (GCRA), and a word on when to come again |
//!
//! ```
//! use outrigger_resilience::breaker::{Breaker, Settings, State};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let breaker = Breaker::new(Settings { failures: 2, ..Settings::default() });
//! for _ in 0..2 {
//!     breaker.enter().expect("closed").failed();
//! }
//! assert_eq!(breaker.state(), State::Open);
//! assert!(breaker.enter().is_err());
//! # }
//! ```

pub mod breaker;
pub mod rate_limit;

pub use breaker::Breaker;
