//! Keeping an instance in the registry for as long as it runs.

use std::{sync::Arc, time::Duration};

use env::Elapsed;
use tokio_util::sync::CancellationToken;

use crate::{Instance, Registry, Result};

/// How long the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An instance that is in rotation. It must be [kept](Self::keep) there.
pub struct Registration {
    registry: Arc<dyn Registry>,
    instance: Instance,
    heartbeat: Duration,
}

/// Puts `instance` into rotation.
///
/// # Errors
/// What the registry says.
pub async fn register(
    registry: Arc<dyn Registry>,
    instance: Instance,
    heartbeat: Duration,
) -> Result<Registration> {
    registry.register(instance.clone()).await?;
    Ok(Registration {
        registry,
        instance,
        heartbeat,
    })
}

impl Registration {
    /// Says that the instance lives, until `leave`; then takes it out of rotation. One that the registry has
    /// forgotten is put in again.
    pub async fn keep(self, leave: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = leave.cancelled() => break,
                () = env::sleep(self.heartbeat) => {}
            }
            let outcome = env::timeout(PATIENCE, self.live()).await;
            self.report(outcome, "no heartbeat; the next one tries again");
        }
        let outcome = env::timeout(PATIENCE, self.registry.deregister(&self.instance.id)).await;
        self.report(outcome, "could not leave the registry");
    }

    fn report(&self, outcome: Result<Result<()>, Elapsed>, failed: &str) {
        let service = &self.instance.service;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, service, "{failed}");
            }
            Err(_) => tracing::warn!(service, "{failed}: the registry does not answer"),
        }
    }

    async fn live(&self) -> Result<()> {
        if self.registry.heartbeat(&self.instance.id).await? {
            return Ok(());
        }
        self.registry.register(self.instance.clone()).await
    }
}
