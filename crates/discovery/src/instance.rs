//! An instance of a service: where it is, and what is known of it.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// One running copy of a service. As JSON, only `id`, `service` and `address` must be there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Unique among all instances.
    pub id: String,
    /// The service that it is a copy of.
    pub service: String,
    /// Its version. Default `0.0.0`.
    #[serde(default = "no_version")]
    pub version: String,
    /// Where it takes requests.
    pub address: SocketAddr,
    /// Where its health can be asked, as a path. Default `/health`.
    #[serde(default = "health")]
    pub health_path: String,
    /// Whatever else is worth knowing.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Where it stands, for callers that prefer what is near.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its share of the calls, relative to the others. Default 1.
    #[serde(default = "one")]
    pub weight: u32,
    /// Whether it is about to leave: it gets nothing new, and finishes what it has.
    #[serde(default)]
    pub draining: bool,
}

impl Instance {
    /// A new instance of `service` at `address`.
    pub fn new(service: &str, address: SocketAddr) -> Self {
        Self {
            id: env::id().to_string(),
            service: service.to_owned(),
            version: no_version(),
            address,
            health_path: health(),
            metadata: BTreeMap::new(),
            zone: None,
            weight: one(),
            draining: false,
        }
    }

    /// Sets the version.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    /// Sets the zone.
    #[must_use]
    pub fn zone(mut self, zone: &str) -> Self {
        self.zone = Some(zone.to_owned());
        self
    }

    /// Sets the weight.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// The same, about to leave.
    #[must_use]
    pub fn draining(mut self) -> Self {
        self.draining = true;
        self
    }
}

fn no_version() -> String {
    "0.0.0".to_owned()
}

fn health() -> String {
    "/health".to_owned()
}

fn one() -> u32 {
    1
}
