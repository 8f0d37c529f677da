//! Registry, load balancing and the client for calls between services.
//!
//! | module | subject |
//! |---|---|
//! | [`registry`], [`instance`] | who is where, and every change of it |
//! | [`registrar`] | keeping an instance there for as long as it runs |
//! | [`balance`] | which instance takes a request |
//! | [`upstream`] | all instances of a service, as one to send requests to |
//! | [`client`] | JSON calls |

pub mod balance;
pub mod client;
mod error;
pub mod http;
pub mod instance;
pub mod registrar;
pub mod registry;
pub mod upstream;

pub use client::{Client, Clients};
pub use error::{Error, Result};
pub use http::{Connector, HttpClient, http_client};
pub use instance::Instance;
pub use registry::{InProcess, Registry, StaticList, Ttl};
pub use upstream::Upstream;
