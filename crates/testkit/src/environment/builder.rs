//! What of a system is started for a test.

use axum::Router;
use env::config::Secret;
use outrigger::{Settings, System, settings::Messaging};
use tempfile::TempDir;

use super::{Error, TestEnvironment};

/// Says what of a system is started.
pub struct Builder {
    system: System,
    only: Option<Vec<String>>,
    stubs: Vec<(String, Router)>,
    database: Option<String>,
    bus: Option<String>,
}

impl Builder {
    pub(super) fn new(system: System) -> Self {
        Self {
            system,
            only: None,
            stubs: Vec::new(),
            database: None,
            bus: None,
        }
    }

    /// Starts these services and no others.
    #[must_use]
    pub fn only<const N: usize>(mut self, services: [&str; N]) -> Self {
        self.only = Some(services.map(str::to_owned).to_vec());
        self
    }

    /// Lets `routes` answer in place of `service`, which is not started. It is not asked for a token.
    #[must_use]
    pub fn stub(mut self, service: &str, routes: Router) -> Self {
        self.stubs.push((service.to_owned(), routes));
        self
    }

    /// Keeps the services' databases at this URL, in which `{service}` stands for the name of each:
    /// on a server of PostgreSQL. Default: files in a folder of its own.
    #[must_use]
    pub fn database(mut self, url: &str) -> Self {
        self.database = Some(url.to_owned());
        self
    }

    /// Carries the events on the NATS server at this URL. Default: a bus in the folder of the databases.
    #[must_use]
    pub fn bus(mut self, url: &str) -> Self {
        self.bus = Some(url.to_owned());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::Bus`], [`Error::Stub`] and [`Error::System`].
    pub async fn start(self) -> Result<TestEnvironment, Error> {
        let folder = TempDir::with_prefix("outrigger-test-").map_err(Error::Folder)?;
        let settings = Settings {
            data: folder.path().to_owned(),
            database: self.database.map(Secret::new),
            messaging: Messaging {
                bus: self.bus.map(Secret::new),
                ..Messaging::default()
            },
            ..Settings::default()
        };
        let mut environment = TestEnvironment::empty(self.system, folder, settings).await?;
        let services = environment
            .system
            .services()
            .iter()
            .map(|service| service.name().to_owned());
        let services: Vec<_> = match self.only {
            Some(only) => only,
            None => services
                .filter(|name| !self.stubs.iter().any(|(stub, _)| stub == name))
                .collect(),
        };
        for (service, routes) in self.stubs {
            environment
                .start_stub(&service, routes)
                .await
                .map_err(|source| {
                    let service = service.clone();
                    Error::Stub { service, source }
                })?;
        }
        for service in services {
            environment.start_service(&service).await?;
        }
        environment.start_gateway().await?;
        Ok(environment)
    }
}
