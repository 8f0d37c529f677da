//! Typed configuration: `outrigger.toml`, then `OUTRIGGER_*`, then flags.
//!
//! Every field has a default that is right on a laptop. A wrong key or value is an error that names it and
//! the nearest key that exists ([`env::config`]).

mod addresses;
pub mod calls;
mod discovery;
mod hub;
pub mod values;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::http::Uri;
use env::config::Secret;
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use resilience::admission;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

pub use self::discovery::{Discovery, Registry};
pub use addresses::Addresses;
pub use calls::Calls;
pub use hub::{Advertised, Hub, NotReachable};

/// The settings of a running system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The folder of the embedded databases. Default `.outrigger`.
    pub data: PathBuf,
    /// The URL of the services' databases, with `{service}` where the name of the service belongs:
    /// `postgres://{service}:secret@db.local/{service}`. Default: a SQLite file for each in `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Secret>,
    /// The door to the system.
    pub gateway: Gateway,
    /// How services are found.
    pub discovery: Discovery,
    /// How they are called. A change of this in the file holds without a restart.
    pub calls: Calls,
    /// The hub of a system of many processes.
    pub hub: Hub,
    /// How much services take on before they refuse.
    pub admission: admission::Settings,
    /// How messages are handled.
    pub messaging: Messaging,
    /// How requests with an `Idempotency-Key` are remembered.
    pub idempotency: Idempotency,
    /// How a running system is watched over.
    pub invariants: Invariants,
    /// How a service starts and stops.
    pub lifecycle: Lifecycle,
    /// What is said while running.
    pub logging: Logging,
    /// What differs for one service, by its name.
    pub services: BTreeMap<String, ServiceSettings>,
    /// Where the services are that other processes run, by name (`shop serve`), where no hub says it: `host:port`, or a list
    /// of these where a service has several processes.
    pub peers: BTreeMap<String, Addresses>,
    /// How services trust each other.
    pub security: Security,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from(".outrigger"),
            database: None,
            gateway: Gateway::default(),
            discovery: Discovery::default(),
            calls: Calls::default(),
            hub: Hub::default(),
            admission: admission::Settings::default(),
            messaging: Messaging::default(),
            idempotency: Idempotency::default(),
            invariants: Invariants::default(),
            lifecycle: Lifecycle::default(),
            logging: Logging::default(),
            services: BTreeMap::new(),
            peers: BTreeMap::new(),
            security: Security::default(),
        }
    }
}

impl Settings {
    /// Reads `outrigger.toml` at `file`, the `OUTRIGGER_*` variables and `flags` (key and value), the later
    /// one winning.
    ///
    /// # Errors
    /// What [`env::config`] finds wrong.
    pub fn load<'a>(
        file: &Path,
        flags: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<Self, env::config::Error> {
        let loader = env::config::Loader::default()
            .file(file)?
            .variables("OUTRIGGER_", std::env::vars());
        flags
            .into_iter()
            .fold(loader, |loader, (key, value)| loader.flag(key, &value))
            .load()
    }

    /// What is set for `service`, or the defaults.
    pub fn service(&self, service: &str) -> ServiceSettings {
        self.services.get(service).cloned().unwrap_or_default()
    }

    /// The URL of the embedded bus: the one that is set, or that of a file in the data folder.
    pub(crate) fn bus_file(&self) -> Secret {
        if let Some(set) = &self.messaging.bus
            && set.reveal().starts_with("sqlite:")
        {
            return set.clone();
        }
        let file = self.data.join(format!("{}.sqlite", crate::invariant::BUS));
        Secret::new(format!("sqlite:{}", file.display()))
    }

    /// The URL of the bus: the one that is set, or that of the embedded one.
    pub(crate) fn bus_url(&self) -> Secret {
        let set = self.messaging.bus.clone();
        set.unwrap_or_else(|| self.bus_file())
    }

    /// The hub that a process joins, if the settings name one.
    pub(crate) fn hub_url(&self) -> Option<&str> {
        match (&self.hub.url, &self.discovery.registry) {
            (Some(url), _) | (None, Some(Registry::Hub(url))) => Some(url),
            _ => None,
        }
    }

    /// Where those who look after the system find its hub: at its URL, or else on this machine.
    pub fn hub_found_at(&self) -> String {
        self.hub_url()
            .map_or_else(|| self.hub.on_this_machine(), str::to_owned)
    }

    /// The file with the keys of service tokens: the one that is set, or that in the data folder.
    pub fn keys_file(&self) -> PathBuf {
        let set = self.security.keys.clone();
        set.unwrap_or_else(|| self.data.join("keys.json"))
    }

    /// The URL of the database of `service`: its own one, or that of all, or a SQLite file.
    pub fn database_of(&self, service: &str) -> Secret {
        let own = self.services.get(service).map(|own| &own.database);
        match (own.and_then(Option::as_ref), &self.database) {
            (Some(own), _) => own.clone(),
            (None, Some(all)) => Secret::new(all.reveal().replace("{service}", service)),
            (None, None) => {
                let file = self.data.join(format!("{service}.sqlite"));
                Secret::new(format!("sqlite:{}", file.display()))
            }
        }
    }
}

/// Settings of the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// Where it listens. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
        }
    }
}

/// Settings of message handling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Messaging {
    /// The bus: the URL of NATS, such as `nats://host:4222`, with what [`events::nats::Options`] has as parameters, or that
    /// of a hub, such as `http://host:7700`. By default that of the hub that a process joins; without one the embedded bus
    /// in the data folder, where no two processes may be of one service. It may hold a password, so it is never printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<Secret>,
    /// After how many failed deliveries a message becomes a dead letter. Default 8.
    pub max_deliveries: u32,
    /// How many messages of different keys a service handles at once. Default 64.
    pub concurrency: usize,
    /// For how long a service keeps the events that the bus has, so that they can be sent again. Default `1h`.
    #[serde(with = "friendly")]
    pub replay_window: Duration,
    /// How many bytes the JSON of an event may have: a larger one is refused when it is published. A bus must take
    /// somewhat more, for the headers. Default 1 MiB less 16 KiB (1032192).
    pub max_event_size: usize,
}

impl Default for Messaging {
    fn default() -> Self {
        Self {
            bus: None,
            max_deliveries: 8,
            concurrency: 64,
            replay_window: Duration::from_secs(60 * 60),
            max_event_size: (1024 - 16) * 1024,
        }
    }
}

/// Settings of requests with an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Idempotency {
    /// How long a service remembers the answer to such a request, and gives it again: from one minute, so that a retry
    /// finds it, to a year. Default `24h`.
    #[serde(serialize_with = "friendly::serialize", deserialize_with = "keep")]
    pub keep: Duration,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(24 * 60 * 60),
        }
    }
}

fn keep<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    bounded(deserializer, Duration::from_secs(60)..=year, "1m to 8760h")
}

/// A time within `bounds`, which are named so that a wrong one says what is right.
fn bounded<'de, D: Deserializer<'de>>(
    deserializer: D,
    bounds: RangeInclusive<Duration>,
    named: &str,
) -> Result<Duration, D::Error> {
    let time = friendly::deserialize(deserializer)?;
    match bounds.contains(&time) {
        true => Ok(time),
        false => Err(D::Error::custom(format_args!("it is from {named}"))),
    }
}

/// Settings of watching over a running system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Invariants {
    /// How often `up` looks whether the invariants hold; `0s` is never. Default `1m`.
    #[serde(with = "friendly")]
    pub every: Duration,
    /// Who is told when one is violated, and when it holds again: the URL of what takes what Alertmanager sends to a webhook.
    /// Default nobody.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "webhook")]
    pub webhook: Option<Secret>,
    /// The PEM file of the authorities of which one must vouch for it, where its URL is `https`. Default those of this
    /// machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_ca: Option<PathBuf>,
}

impl Default for Invariants {
    fn default() -> Self {
        Self {
            every: Duration::from_mins(1),
            webhook: None,
            webhook_ca: None,
        }
    }
}

fn webhook<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let url = Secret::deserialize(deserializer)?;
    match url.reveal().parse::<Uri>() {
        Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) => Ok(Some(url)),
        _ => Err(D::Error::custom(
            "it is a URL such as https://alerts.example/outrigger",
        )),
    }
}

/// Settings of starting and stopping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifecycle {
    /// How long stopping may take, from the signal to the end: what is in flight finishes, and what is in the outbox is
    /// sent, for which a quarter of it is kept. Default `20s`; whoever kills what does not stop must wait for longer.
    #[serde(with = "friendly")]
    pub drain: Duration,
    /// How long a stopping process goes on accepting requests after it has left the registry: for those that learn of
    /// that later, such as a load balancer in front of the gateway. Default `0s`; for services that find each other by a
    /// registry elsewhere at least as long as its word takes.
    #[serde(with = "friendly")]
    pub linger: Duration,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(20),
            linger: Duration::ZERO,
        }
    }
}

/// Settings of trust between services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// The file with the keys that service tokens are signed with; processes of one system share it. Made
    /// when it is not there. Default `keys.json` in the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<PathBuf>,
    /// How often a running process reads that file again, so that it hears of keys that another has made. Default `30s`.
    #[serde(with = "env::config::time")]
    pub refresh: Duration,
    /// How long a token is good for that a service signs for its calls of another: from a second to 5 minutes, for a key that
    /// is rotated out is trusted no longer. Those for the hub always have 5 minutes. Default `5m`.
    #[serde(
        serialize_with = "friendly::serialize",
        deserialize_with = "token_lifetime"
    )]
    pub token_lifetime: Duration,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            keys: None,
            refresh: Duration::from_secs(30),
            token_lifetime: identity::TOKEN_LIFETIME,
        }
    }
}

fn token_lifetime<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let bounds = Duration::from_secs(1)..=identity::TOKEN_LIFETIME;
    bounded(deserializer, bounds, "1s to 5m")
}

/// Settings of logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logging {
    /// `human` or `json`. Default `human`.
    pub format: LogFormat,
    /// What is logged: a level, or directives such as `info,outrigger_saga=debug`. Default `warn`.
    pub filter: String,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            filter: "warn".to_owned(),
        }
    }
}

impl Logging {
    /// What [`telemetry::logging::init`] takes, for the process called `name`.
    pub fn to_options(&self, name: &str) -> telemetry::logging::Options {
        let format = match self.format {
            LogFormat::Human => telemetry::logging::Format::Human,
            LogFormat::Json => telemetry::logging::Format::Json,
        };
        telemetry::logging::Options::new(name)
            .format(format)
            .filter(&self.filter)
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For a person at a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// What may differ for one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceSettings {
    /// Where it listens; port 0 lets the system choose. Default `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// The URL of its database. Default: what `database` says for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Secret>,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            database: None,
        }
    }
}
