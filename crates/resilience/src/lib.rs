//! What keeps a failing dependency from taking its callers with it, and a caller from taking more than its share.
//!
//! Each part can be used by itself or as a layer of tower, which have the same files: `layer.rs`, `service.rs`,
//! `future.rs` where one is needed, `error.rs`. Time and chance come from `env`, so all of it runs in a simulation.
//!
//! | module | subject |
//! |---|---|
//! | [`breaker`] | stop calling what fails, and find out when it works again |
//! | [`deadline`] | calls that end in time, and pass on what is left of it |
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
pub mod deadline;
pub mod rate_limit;

pub use breaker::Breaker;
