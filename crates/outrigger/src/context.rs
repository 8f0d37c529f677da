//! What every handler gets: the service's own database, clients for the services that it may call, its sagas.

use std::{collections::BTreeMap, sync::Arc};

use data::Database;
use discovery::{Client, Clients};
use saga::Sagas;
use telemetry::{Metrics, PerformanceMonitor};

use crate::{Boundary, Error, Result};

/// The surroundings of a handler. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) service: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) boundary: Arc<Boundary>,
    pub(crate) db: Database,
    pub(crate) clients: Clients,
    pub(crate) sagas: Sagas,
    pub(crate) metrics: Metrics,
    pub(crate) performance: PerformanceMonitor,
}

impl Context {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The name of the service.
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// Its database.
    pub fn db(&self) -> &Database {
        &self.0.db
    }

    /// Its sagas: those it can start, and those that run.
    pub fn sagas(&self) -> &Sagas {
        &self.0.sagas
    }

    /// Its metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// How its operations performed in the last minutes.
    pub fn performance(&self) -> &PerformanceMonitor {
        &self.0.performance
    }

    /// A client for `service`, which must be among the declared dependencies.
    ///
    /// # Errors
    /// [`Error::UndeclaredDependency`].
    pub fn client(&self, service: &str) -> Result<Client> {
        if self
            .0
            .boundary
            .depends_on
            .iter()
            .any(|declared| declared == service)
        {
            Ok(self.0.clients.client(service))
        } else {
            Err(Error::UndeclaredDependency {
                service: self.0.service.to_string(),
                target: service.to_owned(),
            })
        }
    }

    /// The declared dependencies, and whether an instance of each is known.
    pub fn dependencies(&self) -> BTreeMap<String, bool> {
        let known = |service: &String| (service.clone(), self.0.clients.is_known(service));
        self.0.boundary.depends_on.iter().map(known).collect()
    }
}
