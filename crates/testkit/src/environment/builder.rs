//! What of a system is started for a test.

use axum::Router;
use outrigger::System;
use tempfile::TempDir;

use super::{Error, TestEnvironment};

/// Says what of a system is started.
pub struct Builder {
    system: System,
    only: Option<Vec<String>>,
    stubs: Vec<(String, Router)>,
    database: Option<String>,
}

impl Builder {
    pub(super) fn new(system: System) -> Self {
        Self {
            system,
            only: None,
            stubs: Vec::new(),
            database: None,
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

    /// Starts it.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::Bus`], [`Error::Stub`] and [`Error::System`].
    pub async fn start(self) -> Result<TestEnvironment, Error> {
        let folder = TempDir::with_prefix("outrigger-test-").map_err(Error::Folder)?;
        let mut environment = TestEnvironment::empty(self.system, folder, self.database).await?;
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
