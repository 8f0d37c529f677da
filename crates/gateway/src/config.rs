//! `gateway.toml`, read once into types that cannot hold a wrong value.
//!
//! ```
//! # use outrigger_gateway::Config;
//! let config: Config = r#"
//!     [limits]
//!     body = "1MiB"
//!
//!     [[route]]
//!     path = "/orders/{id}"
//!     methods = ["GET"]
//!     service = "order-service"
//!     cache = "5s"
//!     rate_limit = { requests = 100, per = "1s", burst = 200 }
//! "#.parse()?;
//! assert_eq!(config.routes[0].service, "order-service");
//!
//! let wrong = r#"limits.timeout = "soon""#.parse::<Config>();
//! assert!(wrong.is_err_and(|error| error.to_string().contains("limits.timeout")));
//! # Ok::<(), outrigger_gateway::Error>(())
//! ```

mod units;

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use env::{config::time, request::Priority};
use http::Method;
use resilience::{admission, rate_limit::Limit};
use serde::Deserialize;

pub use units::Size;

use crate::{Error, router::Router};

/// All that a gateway must be told. Made by parsing the text of a `gateway.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// `[limits]`: what a request may take.
    pub limits: Limits,
    /// `[admission]`: how much of each route is under way at once before requests are refused.
    pub admission: admission::Settings,
    /// `[cache]`: the memory of the cache, which all routes share.
    pub cache: Cache,
    /// `[[route]]`: where requests go, in the order of the file. No two match the same request.
    #[serde(rename = "route")]
    pub routes: Vec<Route>,
}

/// What a request may take. A route may set its own `body` and `timeout`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// The longest body of a request; 413 beyond. Default 1 MiB.
    pub body: Size,
    /// The most that names and values of a request's headers may hold together; 431 beyond. Default 16 KiB.
    pub headers: Size,
    /// The longest path with its query; 414 beyond. Default 8 KiB.
    pub uri: Size,
    /// The longest wait for the head of an answer; 504 beyond. Default 5 s, at most a day.
    #[serde(with = "time")]
    pub timeout: Duration,
    /// The longest silence within a body, in either direction, before it is broken off. Default 60 s, at
    /// most a day.
    #[serde(with = "time")]
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: Size::mib(1),
            headers: Size::kib(16),
            uri: Size::kib(8),
            timeout: Duration::from_secs(5),
            idle: Duration::from_secs(60),
        }
    }
}

/// The memory of the cache.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Cache {
    /// All stored answers together; what is asked for least goes first. Default 64 MiB.
    pub size: Size,
    /// The longest body that is stored. Default 1 MiB, at most 1 GiB.
    pub entry: Size,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            size: Size::mib(64),
            entry: Size::mib(1),
        }
    }
}

/// Where the requests of one path and some methods go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Route {
    /// The path: `/orders`, `/orders/{id}`, `/files/{*rest}`. An exact segment wins over a parameter, and a
    /// parameter over the rest.
    pub path: String,
    /// The methods, at least one; HEAD goes where GET goes.
    pub methods: Methods,
    /// The service that answers.
    pub service: String,
    /// How long an answer to GET may be given again, at most; the service may ask for less. Default: it may
    /// not.
    #[serde(default, deserialize_with = "units::some_time")]
    pub cache: Option<Duration>,
    /// How often one client may ask. Default: as often as it likes.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
    /// How much its requests matter when there is too much to do: `low`, `normal` or `critical`. Services are told. Default
    /// `normal`.
    #[serde(default)]
    pub priority: Priority,
    /// In place of `limits.timeout`.
    #[serde(default, deserialize_with = "units::some_time")]
    pub timeout: Option<Duration>,
    /// In place of `limits.body`.
    #[serde(default)]
    pub body: Option<Size>,
}

/// How often one client may ask: `requests` in each `per`, and `burst` at once, evenly refilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Rate")]
pub struct RateLimit(Limit);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    requests: NonZeroU32,
    #[serde(with = "time")]
    per: Duration,
    #[serde(default)]
    burst: Option<NonZeroU32>,
}

impl RateLimit {
    /// The requests that are refilled in each [`per`](Self::per).
    pub fn requests(&self) -> NonZeroU32 {
        self.0.requests
    }

    /// The time in which they are refilled, at most a day.
    pub fn per(&self) -> Duration {
        self.0.per
    }

    /// The requests that may come at once. Default: as many as are refilled.
    pub fn burst(&self) -> NonZeroU32 {
        self.0.burst
    }

    /// The same for a limiter.
    pub fn limit(&self) -> Limit {
        self.0
    }
}

impl TryFrom<Rate> for RateLimit {
    type Error = String;

    fn try_from(rate: Rate) -> Result<Self, String> {
        let Rate {
            requests,
            per,
            burst,
        } = rate;
        if (per / requests.get()).is_zero() {
            return Err(format!(
                "{requests} requests in {per:?} is more than one in a nanosecond"
            ));
        }
        let burst = burst.unwrap_or(requests);
        Ok(Self(Limit {
            requests,
            per,
            burst,
        }))
    }
}

/// Methods of a route: at least one, each once, of those that a gateway may forward.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Methods(Vec<Method>);

impl Methods {
    /// The methods in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Method> {
        self.0.iter()
    }

    /// Whether `method` is among them.
    pub fn contains(&self, method: &Method) -> bool {
        self.0.contains(method)
    }
}

impl<'a> IntoIterator for &'a Methods {
    type Item = &'a Method;
    type IntoIter = std::slice::Iter<'a, Method>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<Vec<String>> for Methods {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        // TRACE would show the client the gateway's token, and CONNECT is no request to a service.
        const FORWARDED: [Method; 7] = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ];
        let mut methods = Vec::with_capacity(names.len());
        for name in names {
            let Some(method) = FORWARDED.into_iter().find(|method| method == name.as_str()) else {
                let known = FORWARDED.each_ref().map(Method::as_str).join(", ");
                return Err(format!("`{name}` is not one of the methods {known}"));
            };
            if methods.contains(&method) {
                return Err(format!("`{method}` stands there twice"));
            }
            methods.push(method);
        }
        if methods.is_empty() {
            return Err("a route needs at least one method, such as [\"GET\"]".to_owned());
        }
        Ok(Self(methods))
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(Method::as_str).collect();
        f.write_str(&names.join(", "))
    }
}

impl Config {
    /// Checks that every route leads to one of the services `known`.
    ///
    /// # Errors
    /// [`Error::UnknownService`].
    pub fn check_services<'a>(
        &self,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let known: Vec<_> = known.into_iter().collect();
        let stray = |route: &&Route| !known.contains(&route.service.as_str());
        match self.routes.iter().find(stray) {
            None => Ok(()),
            Some(route) => Err(Error::UnknownService {
                path: route.path.clone(),
                service: route.service.clone(),
                known: known.join(", "),
            }),
        }
    }

    fn check(&self) -> Result<(), Error> {
        for (index, route) in self.routes.iter().enumerate() {
            let invalid = |key: &str, reason: &str| Error::Invalid {
                key: format!("route[{index}].{key}"),
                reason: reason.to_owned(),
            };
            if route.service.trim().is_empty() {
                return Err(invalid("service", "the name of a service"));
            }
            if route.cache.is_some() && !route.methods.contains(&Method::GET) {
                return Err(Error::CacheWithoutGet {
                    path: route.path.clone(),
                });
            }
        }
        if self.cache.entry.bytes() > Size::mib(1024).bytes() {
            return Err(Error::Invalid {
                key: "cache.entry".to_owned(),
                reason: "at most 1GiB".to_owned(),
            });
        }
        Router::new(&self.routes).map(drop)
    }
}

impl FromStr for Config {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let syntax = |error: toml::de::Error| Error::Syntax {
            reason: error.to_string().trim().to_owned(),
        };
        let document = toml::Deserializer::parse(text).map_err(syntax)?;
        let config: Self =
            serde_path_to_error::deserialize(document).map_err(|error| Error::Invalid {
                key: error.path().to_string(),
                reason: error.inner().message().trim().to_owned(),
            })?;
        config.check()?;
        Ok(config)
    }
}
