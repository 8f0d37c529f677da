//! Where the shop runs, and what of it can be killed.

use std::{
    fmt,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use outrigger::{
    GatewayClient, Inspection, Settings,
    env::{self, BoxError},
};
use serde_json::Value;
use servers::{Nats, Postgres};

use crate::backing;

/// The longest that a server is away, in milliseconds.
const AWAY_MS_MAX: u64 = 1_500;

/// On what the shop runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// All parts in the process of the shop.
    Embedded,
    /// A PostgreSQL and a NATS server.
    Distributed,
}

impl Backend {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Embedded, Self::Distributed]
            .into_iter()
            .find(|it| it.to_string() == name)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Distributed => "distributed",
        })
    }
}

/// See the [module](self).
pub(crate) struct Place {
    binary: PathBuf,
    settings: Settings,
    servers: Option<(Postgres, Nats)>,
    shop: Option<Shop>,
    _folder: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn prepare(backend: Backend, binary: &Path) -> Result<Self, BoxError> {
        let folder = tempfile::tempdir()?;
        let mut settings = Settings {
            data: folder.path().join("data"),
            ..Settings::default()
        };
        let mut running = None;
        if backend == Backend::Distributed {
            running = Some(backing::start(&mut settings).await?);
        }
        Ok(Self {
            binary: binary.to_owned(),
            settings,
            servers: running,
            shop: None,
            _folder: folder,
        })
    }

    /// Starts the shop, if it does not run; and then a client at its gateway.
    pub(crate) fn start(&mut self) -> Result<Option<GatewayClient>, BoxError> {
        if self.shop.is_some() {
            return Ok(None);
        }
        let shop = Shop::start(&self.binary, &self.settings)?;
        let client = GatewayClient::new(shop.gateway);
        self.shop = Some(shop);
        Ok(Some(client))
    }

    /// Whether the shop runs.
    pub(crate) fn is_running(&self) -> bool {
        self.shop.is_some()
    }

    /// Kills something at random; a server comes back after a while. Returns what it was.
    pub(crate) async fn kill_one(&mut self) -> Result<&'static str, BoxError> {
        let away = Duration::from_millis(env::random().below(AWAY_MS_MAX));
        match (&mut self.servers, env::random().below(3)) {
            (Some((postgres, _)), 0) => {
                postgres.kill().await?;
                env::sleep(away).await;
                postgres.restart().await?;
                Ok("postgres")
            }
            (Some((_, nats)), 1) => {
                nats.kill().await;
                env::sleep(away).await;
                nats.restart().await?;
                Ok("nats")
            }
            _ => {
                self.kill_the_shop();
                Ok("shop")
            }
        }
    }

    pub(crate) fn kill_the_shop(&mut self) {
        self.shop = None;
    }

    pub(crate) async fn look(&self) -> Result<Inspection, BoxError> {
        Ok(Inspection::of(&shop::system(), &self.settings).await?)
    }
}

/// A process of the shop, which dies with this.
struct Shop {
    process: Child,
    gateway: SocketAddr,
}

impl Shop {
    /// Starts the shop and waits until it says that it is ready.
    fn start(binary: &Path, settings: &Settings) -> Result<Self, BoxError> {
        let mut command = Command::new(binary);
        if let Some(database) = &settings.database {
            command.env("OUTRIGGER_DATABASE", database.reveal());
        }
        if let Some(bus) = &settings.messaging.bus {
            command.env("OUTRIGGER_MESSAGING__BUS", bus.reveal());
        }
        let mut process = command
            .args(["up", "--gateway", "127.0.0.1:0", "--output", "json"])
            .arg("--data")
            .arg(&settings.data)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", binary.display()))?;
        let screen = process
            .stdout
            .take()
            .ok_or("the shop has no standard output")?;
        let mut line = String::new();
        BufReader::new(screen).read_line(&mut line)?;
        let ready: Value =
            serde_json::from_str(&line).map_err(|_| "the shop did not become ready")?;
        let gateway = ready["gateway"].as_str().ok_or("the shop has no gateway")?;
        Ok(Self {
            gateway: gateway.trim_start_matches("http://").parse()?,
            process,
        })
    }
}

impl Drop for Shop {
    /// On Unix the signal is SIGKILL.
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
