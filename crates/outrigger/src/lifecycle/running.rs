//! What runs: a service, a gateway, a whole system.

use std::net::SocketAddr;

use super::stages::{Life, Stopping};
use crate::{Context, Platform, endpoints::Readiness};

/// A service that runs.
pub struct RunningService {
    pub(super) context: Context,
    pub(super) address: SocketAddr,
    pub(super) readiness: Readiness,
    pub(super) life: Life,
    pub(super) stopping: Stopping,
}

impl RunningService {
    /// Its name.
    pub fn name(&self) -> &str {
        self.context.service()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its handlers get.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Stops it gracefully.
    pub async fn stop(self) {
        self.readiness.set(false);
        self.life.end(self.stopping).await;
    }
}

/// A gateway that runs.
pub struct RunningGateway {
    pub(super) address: SocketAddr,
    pub(super) readiness: Readiness,
    pub(super) life: Life,
    pub(super) stopping: Stopping,
}

impl RunningGateway {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it gracefully.
    pub async fn stop(self) {
        self.readiness.set(false);
        self.life.end(self.stopping).await;
    }
}

/// A whole system that runs in this process.
pub struct Running {
    platform: Platform,
    services: Vec<RunningService>,
    gateway: Option<RunningGateway>,
}

impl Running {
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            services: Vec::new(),
            gateway: None,
        }
    }

    pub(crate) fn add_service(&mut self, service: RunningService) {
        self.services.push(service);
    }

    pub(crate) fn set_gateway(&mut self, gateway: RunningGateway) {
        self.gateway = Some(gateway);
    }

    /// The services, in the order of the description.
    pub fn services(&self) -> &[RunningService] {
        &self.services
    }

    /// Where the gateway listens, if the system has one.
    pub fn gateway(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().map(RunningGateway::address)
    }

    /// What the services share.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Stops everything gracefully, the gateway first, so that no request meets a service that is gone.
    pub async fn stop(self) {
        if let Some(gateway) = self.gateway {
            gateway.stop().await;
        }
        futures::future::join_all(self.services.into_iter().map(RunningService::stop)).await;
        self.platform.stop().await;
    }
}
