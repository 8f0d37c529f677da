//! What can be wrong with a `gateway.toml`.

/// Why a configuration is refused. Nothing of it is used then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not TOML.
    #[error("gateway.toml is not valid TOML: {reason}")]
    Syntax {
        /// Where and why.
        reason: String,
    },
    /// A key that does not exist, or a value that its key cannot have.
    #[error("`{key}` in gateway.toml is wrong: {reason}")]
    Invalid {
        /// The key with dots, such as `route[2].timeout`; routes are counted from 0.
        key: String,
        /// What it must be.
        reason: String,
    },
    /// A path that cannot be routed.
    #[error("the route `{path}` in gateway.toml cannot be matched: {reason}")]
    Path {
        /// The path.
        path: String,
        /// What a path must be.
        reason: String,
    },
    /// Two routes claim the same requests.
    #[error("two routes in gateway.toml take {method} {path}; remove one")]
    DuplicateRoute {
        /// The method that both take.
        method: String,
        /// The path that both have.
        path: String,
    },
    /// Two paths match the same requests under different names, so that none is the better match.
    #[error(
        "the routes `{path}` and `{with}` in gateway.toml match the same paths; write both alike"
    )]
    AmbiguousPath {
        /// The later path.
        path: String,
        /// The earlier one.
        with: String,
    },
    /// Only answers to GET are cached.
    #[error("the route `{path}` in gateway.toml has a `cache` and does not take GET")]
    CacheWithoutGet {
        /// The route's path.
        path: String,
    },
    /// A route leads to a service that does not exist.
    #[error("the route `{path}` in gateway.toml leads to `{service}`, which is none of: {known}")]
    UnknownService {
        /// The route's path.
        path: String,
        /// The service that it names.
        service: String,
        /// The services that there are.
        known: String,
    },
}
