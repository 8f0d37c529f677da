//! Renders what a platform needs to run a system.
//!
//! [`kubernetes`] gives typed manifests: what does not fit the Kubernetes API does not compile. Only what the
//! system's description says is rendered; nothing is invented beside it.

mod error;
pub mod kubernetes;

pub use error::Error;
