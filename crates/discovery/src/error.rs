//! Why a call to a service was not answered.

use std::{net::SocketAddr, time::Duration};

use env::{BoxError, Problem};
use http::{Method, StatusCode};

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No instance of the service is known.
    #[error("no instance of {service} is known; is it running?")]
    NoInstances {
        /// The service.
        service: String,
    },
    /// Every instance failed lately, and is left alone for a while.
    #[error("every instance of {service} failed lately; calls are refused for {} ms", retry_after.as_millis())]
    CircuitOpen {
        /// The service.
        service: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// As many calls are under way as may be.
    #[error("too many calls to {service} are under way; try again later")]
    Overloaded {
        /// The service.
        service: String,
        /// What is full.
        #[source]
        source: BoxError,
    },
    /// The time for the call was over.
    #[error("{service} did not answer in time")]
    DeadlineExceeded {
        /// The service.
        service: String,
    },
    /// No connection, or one that broke off.
    #[error("the connection to {service} failed")]
    Transport {
        /// The service.
        service: String,
        /// What the client says.
        #[source]
        source: BoxError,
    },
    /// No connection could be made: nothing was sent.
    #[error("{service} cannot be connected to")]
    Connect {
        /// The service.
        service: String,
        /// What the client says.
        #[source]
        source: BoxError,
    },
    /// Somebody else is at the address of an instance by now, and has done nothing with the request (RFC 9110, section
    /// 15.5.20).
    #[error("{address} is no instance of {service} any more")]
    Misdirected {
        /// The service.
        service: String,
        /// The address.
        address: SocketAddr,
    },
    /// The body of the request broke off while it was sent: whoever streams it is gone, or gave up.
    #[error("the body of the request to {service} broke off")]
    RequestBody {
        /// The service.
        service: String,
        /// What the client says.
        #[source]
        source: BoxError,
    },
    /// The service answered with a problem document.
    #[error("{service} answered {problem}")]
    Problem {
        /// The service.
        service: String,
        /// What it answered.
        problem: Box<Problem>,
    },
    /// The service answered what cannot be read.
    #[error("{service} answered {status} to {method} {path} with what cannot be read")]
    Undecodable {
        /// The service.
        service: String,
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// The status of the answer.
        status: StatusCode,
        /// Why it cannot be read.
        #[source]
        source: BoxError,
    },
    /// The request cannot be made.
    #[error("the call {path} to {service} cannot be made: {reason}")]
    InvalidRequest {
        /// The service.
        service: String,
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry does not answer. What it said before stays in use.
    #[error("the registry does not answer")]
    Registry {
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// Another service has an instance of this id.
    #[error("an instance of {service} has the id {id} already; ids are unique among all services")]
    DuplicateId {
        /// The id.
        id: String,
        /// The service that has it.
        service: String,
    },
    /// The registry will not have it, however often it is asked.
    #[error("the registry refuses: {problem}")]
    Refused {
        /// What it says.
        problem: Box<Problem>,
    },
    /// The address of the hub is none.
    #[error("{url} is not the address of a hub: {reason}; write it as http://hub:7700")]
    HubUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The URL of the registry cannot be used.
    #[error("the URL of the registry cannot be used: {reason}")]
    RegistryUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// The program runs in no pod, or in one that may not ask.
    #[error("this is no pod of a Kubernetes cluster that may ask its API server: {reason}")]
    NoCluster {
        /// What is missing.
        reason: String,
    },
    /// The API server of Kubernetes does not let this pod see who is where.
    #[error(
        "the API server refuses: {message}; the service account needs a Role in the namespace {namespace} with the rule \
         apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch], and a RoleBinding to it"
    )]
    Forbidden {
        /// The namespace whose slices were asked for.
        namespace: String,
        /// What the API server says.
        message: String,
    },
    /// No token for the service could be minted.
    #[error("no token for {service}")]
    Token {
        /// The service.
        service: String,
        /// What the issuer says.
        #[source]
        source: identity::Error,
    },
}

/// The kind of a call whose time was over.
pub(crate) const TIMEOUT: &str = "timeout";

impl Error {
    /// A fixed word for what kind of failure it is, for figures: `timeout`, `connect`, `circuit-open`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoInstances { .. } => "no-instances",
            Self::CircuitOpen { .. } => "circuit-open",
            Self::Overloaded { .. } => "overloaded",
            Self::DeadlineExceeded { .. } => TIMEOUT,
            Self::Transport { .. } => "transport",
            Self::Connect { .. } => "connect",
            Self::RequestBody { .. } => "request-body",
            Self::Problem { .. } => "problem",
            Self::Undecodable { .. } => "undecodable",
            Self::InvalidRequest { .. } => "invalid-request",
            Self::Registry { .. } => "registry",
            Self::DuplicateId { .. } => "duplicate-id",
            Self::Refused { .. } => "refused",
            Self::HubUrl { .. } => "hub-url",
            Self::Misdirected { .. } => "misdirected",
            Self::RegistryUrl { .. } => "registry-url",
            Self::NoCluster { .. } => "no-cluster",
            Self::Forbidden { .. } => "forbidden",
            Self::Token { .. } => "token",
        }
    }

    /// Whether no connection could be made, so that nothing was sent.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }

    /// Whether the registry is away, so that asking it again may help.
    pub fn is_registry_away(&self) -> bool {
        matches!(self, Self::Registry { .. })
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let unavailable = |seconds| {
            Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "service-unavailable",
                "A part of the system is not available at the moment.",
            )
            .retry_after(seconds)
        };
        match error {
            Error::NoInstances { .. } | Error::Registry { .. } | Error::Overloaded { .. } => {
                unavailable(1)
            }
            Error::CircuitOpen { retry_after, .. } => unavailable(whole_seconds(retry_after)),
            Error::DeadlineExceeded { .. } => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "deadline-exceeded",
                "A part of the system did not answer in time.",
            ),
            Error::RequestBody { .. } => Self::new(
                StatusCode::BAD_REQUEST,
                "body-broken-off",
                "The body of the request broke off.",
            ),
            Error::Problem { problem, .. } if problem.status == 503 => {
                unavailable(problem.retry_after.unwrap_or(1))
            }
            Error::Connect { .. }
            | Error::Misdirected { .. }
            | Error::Transport { .. }
            | Error::Problem { .. }
            | Error::Undecodable { .. } => Self::new(
                StatusCode::BAD_GATEWAY,
                "bad-gateway",
                "A part of the system did not answer as it should.",
            ),
            Error::InvalidRequest { .. }
            | Error::DuplicateId { .. }
            | Error::Refused { .. }
            | Error::HubUrl { .. }
            | Error::RegistryUrl { .. }
            | Error::NoCluster { .. }
            | Error::Forbidden { .. }
            | Error::Token { .. } => Self::internal(),
        }
    }
}

/// Rounded up: who comes back earlier is refused again.
fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}
