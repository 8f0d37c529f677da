//! How services are found.

use std::{fmt, str::FromStr, time::Duration};

use discovery::registry::{dns, kubernetes};
use env::{config::Secret, http::Origin};
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::Advertised;

/// What a registry may be, for who has written something else.
const ALLOWED: &str = "it is `static` (the others are where `peers` say), a hub as `http://hub:7700`, NATS as \
                       `nats://host:4222`, `kubernetes`, DNS as `dns://{service}.shop.local:8080`, or `in-process`";

/// Settings of discovery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Discovery {
    /// Where a process of its own finds the others. Default: at the hub that `hub.url` names, and without one `static`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<Registry>,
    /// How often an instance says that it lives. Default `30s`.
    #[serde(with = "friendly")]
    pub heartbeat: Duration,
    /// After how long a silent instance leaves rotation. Default `90s`.
    #[serde(with = "friendly")]
    pub ttl: Duration,
    /// The address at which others reach what listens in this process: an IP address, with a port where that is another.
    /// Default: the address that it listens on; for what listens on all of them, that of the way to the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<Advertised>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            registry: None,
            heartbeat: Duration::from_secs(30),
            ttl: Duration::from_secs(90),
            advertise: None,
        }
    }
}

/// Where a process of its own finds the others: one of what `discovery` has backends for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registry {
    /// `in-process`: nowhere but in this process.
    InProcess,
    /// `static`: where `peers` say.
    Static,
    /// `http://hub:7700`: at the hub there, as by `hub.url`.
    Hub(String),
    /// `nats://host:4222`, several hosts with commas between them: in the bucket `registry` there. It may hold a password,
    /// so it is never printed.
    Nats(Secret),
    /// `kubernetes`, `kubernetes://namespace?port=name`: in the EndpointSlices of the cluster.
    Kubernetes(kubernetes::Options),
    /// `dns://{service}.shop.local:8080?every=5s`: at the addresses of names.
    Dns(dns::Options),
}

impl FromStr for Registry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let reason = |error| match error {
            discovery::Error::RegistryUrl { reason } => reason,
            other => other.to_string(),
        };
        Ok(match text.split(':').next() {
            Some("in-process") if text == "in-process" => Self::InProcess,
            Some("static") if text == "static" => Self::Static,
            Some("http" | "https") => match Origin::parse(text, 0) {
                Ok(_) => Self::Hub(text.to_owned()),
                Err(reason) => return Err(format!("of the URL of the hub: {reason}")),
            },
            Some("nats" | "tls") => Self::Nats(Secret::new(text)),
            Some(kind) if kind.starts_with("kubernetes") => {
                Self::Kubernetes(text.parse().map_err(reason)?)
            }
            Some("dns") => Self::Dns(text.parse().map_err(reason)?),
            _ => return Err(ALLOWED.to_owned()),
        })
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess => f.write_str("in-process"),
            Self::Static => f.write_str("static"),
            Self::Hub(url) => f.write_str(url),
            Self::Nats(_) => f.write_str("nats://[secret]"),
            Self::Kubernetes(options) => options.fmt(f),
            Self::Dns(options) => options.fmt(f),
        }
    }
}

impl Serialize for Registry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Registry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
