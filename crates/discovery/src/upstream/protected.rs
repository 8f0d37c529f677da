//! The names by which the layers of a call tell what they protect, and how they are read.

use std::net::SocketAddr;

/// What a decision is about. Written `user-service`, `user-service GET /users/{id}` or `user-service at 10.0.0.7:7001`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protected<'a> {
    /// The service that is called.
    pub service: &'a str,
    /// One of its calls, where that has a policy of its own: `GET /users/{id}`.
    pub call: Option<&'a str>,
    /// The address of one of its instances.
    pub instance: Option<&'a str>,
}

const AT: &str = "at ";

impl<'a> Protected<'a> {
    /// Reads the name that an [`Observer`](resilience::observe::Observer) was given.
    pub fn of(name: &'a str) -> Self {
        let (service, rest) = match name.split_once(' ') {
            Some((service, rest)) => (service, Some(rest)),
            None => (name, None),
        };
        let instance = rest.and_then(|rest| rest.strip_prefix(AT));
        Self {
            service,
            call: rest.filter(|_| instance.is_none()),
            instance,
        }
    }
}

/// The name of an instance of `service`.
pub(super) fn instance(service: &str, address: SocketAddr) -> String {
    format!("{service} {AT}{address}")
}

/// The name of one of the calls to `service`.
pub(super) fn call(service: &str, call: &str) -> String {
    format!("{service} {call}")
}
