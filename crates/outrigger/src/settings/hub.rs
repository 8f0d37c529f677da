//! The hub: where it is, and at which address others find who joins it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Where a hub listens when nobody says where.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7700);

/// Settings of the hub, by which processes find each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hub {
    /// Where it listens, in the process that has it. Default `127.0.0.1:7700`; with `up`, none where that is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// The hub that a process joins, such as `http://hub:7700`, or `https://hub.example?ca=/etc/shop/ca.pem`. Default none:
    /// the others are where `discovery.registry` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Hub {
    /// Where it listens.
    pub fn listens_on(&self) -> SocketAddr {
        self.listen.unwrap_or(LISTEN)
    }

    /// The URL of one that runs on this machine.
    pub(super) fn on_this_machine(&self) -> String {
        let mut address = self.listens_on();
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{address}")
    }
}

/// The address at which others reach a process: `10.0.0.7`, or `10.0.0.7:7001` where the port is another than the one that
/// it listens on, as behind a container's mapping of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertised {
    ip: IpAddr,
    port: Option<u16>,
}

impl Advertised {
    /// The address of what listens on `port`.
    pub fn of_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

/// What is no address to be reached at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is an IP address that others can connect to, such as 10.0.0.7, with a port if need be: 10.0.0.7:7001"
)]
pub struct NotReachable;

impl FromStr for Advertised {
    type Err = NotReachable;

    fn from_str(text: &str) -> Result<Self, NotReachable> {
        let (ip, port) = match text.parse::<SocketAddr>() {
            Ok(address) => (address.ip(), Some(address.port())),
            Err(_) => (text.parse().map_err(|_| NotReachable)?, None),
        };
        let nowhere = ip.is_unspecified() || ip.is_multicast() || port == Some(0);
        if nowhere {
            return Err(NotReachable);
        }
        Ok(Self { ip, port })
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl Serialize for Advertised {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Advertised {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
