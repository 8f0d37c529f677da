//! The shop as processes, one for each service and two for orders, on PostgreSQL and NATS.

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use outrigger::{
    GatewayClient, Inspection, Settings,
    env::{self, BoxError},
    lifecycle::GATEWAY,
};
use servers::{Nats, Postgres};
use tempfile::TempDir;

use crate::{
    backing,
    supervised::{Start, Supervised},
};

/// The service of which there are two processes.
const TWICE: &str = "order-service";
/// Where processes may listen: below the ports that the system gives to connections, of which one could be on the port
/// of a process that is away.
const PORTS: std::ops::Range<u64> = 15_000..30_000;

/// All of them.
pub(crate) struct Processes {
    components: Vec<Component>,
    settings: Settings,
    gateway: SocketAddr,
    folder: TempDir,
}

/// What can be killed.
pub(crate) struct Component {
    name: String,
    part: Part,
}

enum Part {
    Process(Supervised),
    Postgres(Postgres),
    Nats(Nats),
}

impl Processes {
    /// Starts all of them.
    pub(crate) async fn start(binary: &Path) -> Result<Self, BoxError> {
        let folder = tempfile::tempdir()?;
        let mut settings = Settings::default();
        let (postgres, nats) = backing::start(&mut settings).await?;
        let services = places().await?;
        let gateway = free_address().await?;
        let file = folder.path().join("outrigger.toml");
        fs::write(&file, written(&settings, folder.path(), &services)?)?;
        let all = services
            .iter()
            .flat_map(|(name, at)| at.iter().map(move |address| (name.as_str(), *address)))
            .chain([(GATEWAY, gateway)]);
        let mut components: Vec<_> = all
            .map(|(name, address)| Component {
                name: name.to_owned(),
                part: Part::Process(Supervised::start(Start {
                    program: binary.to_owned(),
                    arguments: vec![
                        "serve".to_owned(),
                        name.to_owned(),
                        format!("--config={}", file.display()),
                        format!("--listen={address}"),
                    ],
                    log: folder.path().join(format!("{name}.log")),
                })),
            })
            .collect();
        for (name, part) in [
            ("postgres", Part::Postgres(postgres)),
            ("nats", Part::Nats(nats)),
        ] {
            let name = name.to_owned();
            components.push(Component { name, part });
        }
        Ok(Self {
            components,
            settings: Settings::load(&file, [])?,
            gateway,
            folder,
        })
    }

    /// A customer's way in.
    pub(crate) fn client(&self) -> GatewayClient {
        GatewayClient::new(self.gateway)
    }

    pub(crate) fn components(&mut self) -> &mut [Component] {
        &mut self.components
    }

    pub(crate) async fn look(&self) -> Result<Inspection, BoxError> {
        Ok(Inspection::of(&shop::system(), &self.settings).await?)
    }

    /// How often a process ended by itself, and was started again.
    pub(crate) fn gave_up(&self) -> u64 {
        let processes = self.components.iter().filter_map(|it| match &it.part {
            Part::Process(process) => Some(process.gave_up()),
            Part::Postgres(_) | Part::Nats(_) => None,
        });
        processes.sum()
    }

    /// What the processes said of panics.
    pub(crate) fn panics(&self) -> Result<Vec<String>, BoxError> {
        let mut found = Vec::new();
        for log in fs::read_dir(self.folder.path())? {
            let path = log?.path();
            if path.extension().is_some_and(|it| it == "log") {
                let said = fs::read_to_string(&path)?;
                let panics = said.lines().filter(|line| line.contains("panicked at"));
                found.extend(panics.map(str::to_owned));
            }
        }
        Ok(found)
    }

    /// Ends them, and leaves what they said where it is.
    pub(crate) fn leave_logs(self) -> PathBuf {
        self.folder.keep()
    }
}

impl Component {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Kills it, and starts it again after so long. A server answers by then, a process has begun to start.
    pub(crate) async fn kill(&mut self, during: Duration) -> Result<(), BoxError> {
        match &mut self.part {
            Part::Process(process) => process.kill(during).await?,
            Part::Postgres(postgres) => {
                postgres.kill().await?;
                env::sleep(during).await;
                postgres.restart().await?;
            }
            Part::Nats(nats) => {
                nats.kill().await;
                env::sleep(during).await;
                nats.restart().await?;
            }
        }
        Ok(())
    }
}

/// Where each service is to be.
async fn places() -> Result<Vec<(String, Vec<SocketAddr>)>, BoxError> {
    let mut places = Vec::new();
    for service in shop::system().services() {
        let name = service.name().to_owned();
        let mut addresses = vec![free_address().await?];
        if name == TWICE {
            addresses.push(free_address().await?);
        }
        places.push((name, addresses));
    }
    Ok(places)
}

async fn free_address() -> Result<SocketAddr, BoxError> {
    loop {
        let port = PORTS.start + env::random().below(PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port)?));
        if env::net::listen(address).await.is_ok() {
            return Ok(address);
        }
    }
}

/// The settings that all processes share, as a file.
fn written(
    settings: &Settings,
    folder: &Path,
    services: &[(String, Vec<SocketAddr>)],
) -> Result<String, BoxError> {
    let database = settings.database.as_ref().ok_or("there is no database")?;
    let bus = settings.messaging.bus.as_ref().ok_or("there is no bus")?;
    let mut text = format!(
        "data = {:?}\ndatabase = {:?}\n[messaging]\nbus = {:?}\n[security]\nkeys = {:?}\n[peers]\n",
        folder.join("data"),
        database.reveal(),
        bus.reveal(),
        folder.join("keys.json"),
    );
    for (name, addresses) in services {
        let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
        writeln!(text, "{name} = {addresses:?}")?;
    }
    Ok(text)
}
