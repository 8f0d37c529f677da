//! The edge: one door to every service.
//!
//! What is guaranteed: a request is either refused with problem details that carry its correlation id, or
//! streamed to a service and its answer streamed back, neither ever held whole; what a client says of itself
//! in an internal header never gets in (G10); past its limits the gateway refuses early and cheaply (G9).
//! Only this crate knows routes.
//!
//! Start at [`stack`]: it is the chain of layers, and says why each stands where it does.
//!
//! | module | subject |
//! |---|---|
//! | [`config`] | `gateway.toml`, read once into types that cannot hold a wrong value |
//! | [`router`] | which route takes a request |
//! | [`headers`] | what passes the edge and what does not |
//! | [`cache`] | answers that may be given again |
//! | [`layers`] | the layers, one file each |

mod body;
pub mod cache;
pub mod config;
pub mod headers;
pub mod layers;
pub mod router;

pub mod stack;

mod error;
mod gateway;

pub use config::{Config, Route};
pub use error::Error;
pub use gateway::Gateway;
pub use layers::admission::ClientAddress;
