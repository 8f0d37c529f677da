//! The processes and servers of a run, and killing them.

use std::{
    collections::BTreeMap,
    fmt,
    process::{Child, Command, Stdio},
};

use outrigger::{
    data::Database,
    env::{self, BoxError},
};
use servers::{Nats, Postgres, nats, postgres};

use crate::{
    counting,
    role::{Part, Role},
};

/// On what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// SQLite and the embedded bus, in one process.
    Embedded,
    /// PostgreSQL and NATS, a process for each part.
    Distributed,
}

impl Backend {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Embedded, Self::Distributed]
            .into_iter()
            .find(|backend| backend.to_string() == name)
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

/// Everything that runs. Dropped, it is killed.
pub(crate) struct Place {
    pub(crate) role: Role,
    roles: Vec<Role>,
    children: Vec<Option<Child>>,
    servers: Option<(Postgres, Nats)>,
    killed: BTreeMap<String, u64>,
    _folder: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn prepare(backend: Backend) -> Result<Self, BoxError> {
        let folder = tempfile::tempdir()?;
        let ledgers = folder.path().to_owned();
        let (servers, publisher, consumer, bus) = match backend {
            Backend::Embedded => {
                let file = |name| format!("sqlite:{}", ledgers.join(name).display());
                (
                    None,
                    file("publisher.sqlite"),
                    file("consumer.sqlite"),
                    file("bus.sqlite"),
                )
            }
            Backend::Distributed => {
                let postgres = Postgres::start_with(postgres::Options::new().fsync()).await?;
                let nats = Nats::start(nats::Options {
                    sync_always: true,
                    ..nats::Options::default()
                })
                .await?;
                let publisher = postgres.database("publisher").await?;
                let consumer = postgres.database("consumer").await?;
                let bus = nats.url();
                (Some((postgres, nats)), publisher, consumer, bus)
            }
        };
        counting::prepare_publisher(&Database::open(&publisher).await?).await?;
        counting::prepare_consumer(&Database::open(&consumer).await?).await?;
        let role = Role {
            parts: Part::ALL.to_vec(),
            publisher,
            consumer,
            bus,
            ledgers,
        };
        let alone = |part| Role {
            parts: vec![part],
            ..role.clone()
        };
        let roles = match backend {
            Backend::Embedded => vec![role.clone()],
            Backend::Distributed => vec![
                alone(Part::Publisher),
                alone(Part::Relay),
                alone(Part::Relay),
                alone(Part::Consumer),
                alone(Part::Consumer),
                alone(Part::Operator),
            ],
        };
        Ok(Self {
            children: roles.iter().map(|_| None).collect(),
            role,
            roles,
            servers,
            killed: BTreeMap::new(),
            _folder: folder,
        })
    }

    /// Starts what does not run.
    pub(crate) fn start_all(&mut self) -> Result<(), BoxError> {
        for (role, child) in self.roles.iter().zip(&mut self.children) {
            let gone = match child {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if gone {
                *child = Some(start(role)?);
            }
        }
        Ok(())
    }

    /// Kills a process or a server by chance, and starts it again; which one it was.
    pub(crate) async fn kill_one(&mut self) -> Result<String, BoxError> {
        let servers = if self.servers.is_some() { 2 } else { 0 };
        let victim = env::random().below((self.roles.len() + servers) as u64) as usize;
        let name = match (self.children.get_mut(victim), &mut self.servers) {
            (Some(child), _) => {
                kill(child);
                self.roles[victim].name()
            }
            (None, Some((postgres, _))) if victim == self.roles.len() => {
                postgres.kill().await?;
                postgres.restart().await?;
                "postgresql".to_owned()
            }
            (None, Some((_, nats))) => {
                nats.kill().await;
                nats.restart().await?;
                "nats".to_owned()
            }
            (None, None) => return Err("there is nobody to kill".into()),
        };
        *self.killed.entry(name.clone()).or_default() += 1;
        self.start_all()?;
        Ok(name)
    }

    /// From here on nothing new is counted.
    pub(crate) fn stop_publishing(&mut self) -> Result<(), BoxError> {
        for (role, child) in self.roles.iter_mut().zip(&mut self.children) {
            if role.parts.contains(&Part::Publisher) {
                kill(child);
                role.parts.retain(|part| *part != Part::Publisher);
            }
        }
        self.start_all()
    }

    /// Ends the processes.
    pub(crate) fn stop_all(&mut self) {
        self.children.iter_mut().for_each(kill);
    }

    /// How often each was killed.
    pub(crate) fn killed(&self) -> &BTreeMap<String, u64> {
        &self.killed
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop_all();
    }
}

fn start(role: &Role) -> Result<Child, BoxError> {
    let started = Command::new(std::env::current_exe()?)
        .args(role.arguments())
        .stdin(Stdio::null())
        .spawn();
    started.map_err(|error| format!("cannot start {}: {error}", role.name()).into())
}

fn kill(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}
