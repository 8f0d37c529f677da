//! What keeps a failing dependency from taking its callers with it, and a caller from taking more than its share.
//!
//! Each part can be used by itself or as a layer of tower, which have the same files: `layer.rs`, `service.rs`,
//! `future.rs` where one is needed, `error.rs`. Time and chance come from `env`, so all of it runs in a simulation.
//!
//! | module | subject |
//! |---|---|
//! | [`breaker`] | stop calling what fails or is slow, and find out when it works again |
//! | [`retry`] | make a call again that failed, within a budget |
//! | [`deadline`] | calls that end in time, and pass on what is left of it |
//! | [`bulkhead`] | so many calls at once, and so many waiting |
//! | [`adaptive`] | as many calls at once as are answered without a queue |
//! | [`hedge`] | a second request where an answer takes long |
//! | [`shed`] | the fuller it is, the more important a request must be |
//! | [`admission`] | the two together, before each kind of request of a server |
//! | [`rate_limit`] | so many requests for each key and time (GCRA), and a word on when to come again |
//! | [`fallback`] | a second best answer in place of a failure |
//! | [`observe`] | being told what all of them decide |
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

pub mod adaptive;
pub mod admission;
pub mod breaker;
pub mod bulkhead;
pub mod deadline;
pub mod fallback;
pub mod hedge;
pub mod observe;
pub mod rate_limit;
pub mod retry;
pub mod shed;

pub use breaker::Breaker;

/// A number from 0 to 1, by chance.
fn chance() -> f64 {
    env::random().below(1 << 16) as f64 / f64::from(1 << 16)
}
