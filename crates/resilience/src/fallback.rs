//! A second best answer in place of a failure: what was known last, a default, another service.

mod error;
mod future;
mod layer;
mod service;

pub use self::{
    error::Error, future::ResponseFuture, layer::FallbackLayer, service::FallbackService,
};
