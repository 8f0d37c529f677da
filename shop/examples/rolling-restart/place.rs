//! The processes of the shop, and the servers under them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use outrigger::{
    Settings,
    discovery::HUB,
    env::{self, BoxError},
    lifecycle::GATEWAY,
};
use servers::{Nats, Postgres};
use tempfile::TempDir;

use crate::{
    backing,
    process::{Process, Start},
};

/// So many processes there are of each service, and of the gateway.
const EACH: usize = 2;
/// How long a gateway serves on when it is not ready any more, for who looks at that now and then.
const LINGER: (&str, &str) = ("OUTRIGGER_LIFECYCLE__LINGER", "3s");

/// See the [module](self).
pub(crate) struct Place {
    members: Vec<Member>,
    program: PathBuf,
    config: PathBuf,
    folder: TempDir,
    _servers: (Postgres, Nats),
}

struct Member {
    name: String,
    start: Start,
    /// There, except while it is being replaced.
    process: Option<Process>,
}

impl Place {
    /// Starts all of it: the hub, the services, the gateways.
    pub(crate) async fn start(program: &Path) -> Result<Self, BoxError> {
        let folder = tempfile::tempdir()?;
        let mut settings = Settings::default();
        let servers = backing::start(&mut settings).await?;
        let config = folder.path().join("outrigger.toml");
        fs::write(&config, written(&settings, folder.path())?)?;
        let mut place = Self {
            members: Vec::new(),
            program: program.to_owned(),
            config,
            folder,
            _servers: servers,
        };
        place.add(HUB, "127.0.0.1:0", None).await?;
        let hub = format!("--hub=http://{}", place.address(0));
        for service in shop::system().services() {
            for _ in 0..EACH {
                place.add(service.name(), "127.0.0.1:0", Some(&hub)).await?;
            }
        }
        for _ in 0..EACH {
            place.add(GATEWAY, "127.0.0.1:0", Some(&hub)).await?;
        }
        Ok(place)
    }

    async fn add(&mut self, name: &str, listen: &str, hub: Option<&str>) -> Result<(), BoxError> {
        let mut arguments = vec![
            "serve".to_owned(),
            name.to_owned(),
            format!("--config={}", self.config.display()),
            "--output=json".to_owned(),
            format!("--listen={listen}"),
        ];
        arguments.extend(hub.map(str::to_owned));
        let number = self.members.iter().filter(|it| it.name == name).count() + 1;
        let mut start = Start {
            program: self.program.clone(),
            arguments,
            variables: Vec::from_iter((name == GATEWAY).then_some(LINGER)),
            log: self.folder.path().join(format!("{name}.{number}.log")),
        };
        let process = start.start().await?;
        // Those in front of it look for the hub and the gateways where they were; services are found wherever they are.
        if name == HUB || name == GATEWAY {
            let listen = start
                .arguments
                .iter_mut()
                .find(|it| it.starts_with("--listen="));
            *listen.ok_or("it listens")? = format!("--listen={}", process.address());
        }
        self.members.push(Member {
            name: name.to_owned(),
            start,
            process: Some(process),
        });
        Ok(())
    }

    /// How many processes there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        &self.members[index].name
    }

    fn address(&self, index: usize) -> SocketAddr {
        let process = self.members[index].process.as_ref();
        process
            .expect("it is there but while it is being replaced")
            .address()
    }

    /// Where the gateways are.
    pub(crate) fn gateways(&self) -> Vec<SocketAddr> {
        let all = 0..self.len();
        all.filter(|index| self.name(*index) == GATEWAY)
            .map(|index| self.address(index))
            .collect()
    }

    /// Stops one, and starts another in its place; how long that took.
    pub(crate) async fn restart(&mut self, index: usize) -> Result<Duration, BoxError> {
        let begun = env::instant();
        let member = &mut self.members[index];
        let failed = |error| format!("{}: {error}", member.name);
        if let Some(process) = member.process.take() {
            process.stop().await.map_err(failed)?;
        }
        member.process = Some(member.start.start().await.map_err(failed)?);
        Ok(begun.elapsed())
    }

    /// Waits until every invariant holds; what is broken, when that takes longer than `limit`.
    pub(crate) async fn comes_to_rest(&self, limit: Duration) -> Result<Option<String>, BoxError> {
        let deadline = env::instant() + limit;
        loop {
            let audit = Command::new(&self.program)
                .arg("audit")
                .arg(format!("--config={}", self.config.display()))
                .stderr(Stdio::null())
                .output()?;
            if audit.status.success() {
                return Ok(None);
            }
            if env::instant() > deadline {
                return Ok(Some(String::from_utf8_lossy(&audit.stdout).into_owned()));
            }
            env::sleep(Duration::from_millis(500)).await;
        }
    }

    /// How often the processes said that they panicked.
    pub(crate) fn panics(&self) -> Result<usize, BoxError> {
        let mut found = 0;
        for member in &self.members {
            let said = fs::read_to_string(member.start.log())?;
            found += said.matches("panicked at").count();
        }
        Ok(found)
    }

    /// Ends them, and leaves what they said where it is.
    pub(crate) fn leave_logs(self) -> PathBuf {
        self.folder.keep()
    }
}

/// The settings that all processes share, as a file.
fn written(settings: &Settings, folder: &Path) -> Result<String, BoxError> {
    let database = settings.database.as_ref().ok_or("there is no database")?;
    let bus = settings.messaging.bus.as_ref().ok_or("there is no bus")?;
    Ok(format!(
        "data = {:?}\ndatabase = {:?}\n[messaging]\nbus = {:?}\n",
        folder.join("data"),
        format!("{}?pool_size=4", database.reveal()),
        bus.reveal(),
    ))
}
