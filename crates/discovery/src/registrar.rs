//! Keeping an instance in the registry for as long as it runs.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{Instance, Registry, Result};

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
            let known = self.registry.heartbeat(&self.instance.id).await;
            let outcome = match known {
                Ok(true) => Ok(()),
                Ok(false) => self.registry.register(self.instance.clone()).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, service = self.instance.service, "the registry does not answer");
            }
        }
        if let Err(error) = self.registry.deregister(&self.instance.id).await {
            tracing::warn!(%error, service = self.instance.service, "could not leave the registry");
        }
    }
}
