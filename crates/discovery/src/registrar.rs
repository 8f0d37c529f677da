//! Keeping an instance in the registry for as long as it runs.

use std::{sync::Arc, time::Duration};

use env::{BoxError, chain};
use resilience::retry::Backoff;
use tokio_util::sync::CancellationToken;

use crate::{Error, Instance, Registry, Result, balance::chance};

/// How long the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest wait after the first failure, doubled with each further one up to the time between heartbeats.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// An instance that is in rotation, or will be when the registry is back. It must be [kept](Self::keep) there.
pub struct Registration {
    registry: Arc<dyn Registry>,
    instance: Instance,
    heartbeat: Duration,
    /// How often in a row the registry was asked in vain.
    failures: u32,
}

/// Puts `instance` into rotation. Where the registry is away, it is put there when the registry is back: a service can
/// start without.
///
/// # Errors
/// What the registry says where it is not away: it will never have this instance.
pub async fn register(
    registry: Arc<dyn Registry>,
    instance: Instance,
    heartbeat: Duration,
) -> Result<Registration> {
    let mut registration = Registration {
        registry,
        instance,
        heartbeat,
        failures: 0,
    };
    let registered = registration.enter().await;
    match registered {
        Err(error) if !error.is_registry_away() => return Err(error),
        outcome => registration.note(outcome, "not registered yet; tried again"),
    }
    Ok(registration)
}

impl Registration {
    /// Says that the instance lives, until `leave`; then takes it out of rotation. One that the registry has
    /// forgotten is put in again. It never gives up, however long the registry is away.
    pub async fn keep(mut self, leave: CancellationToken) {
        let pause = |pause| leave.run_until_cancelled(env::sleep(pause));
        while pause(self.pause()).await.is_some() {
            let outcome = self.live().await;
            self.note(outcome, "no heartbeat; tried again");
        }
        let left = in_time(self.registry.deregister(&self.instance.id)).await;
        self.note(left, "could not leave the registry");
    }

    /// Until the next heartbeat, or until the registry that failed is asked again.
    fn pause(&self) -> Duration {
        if self.failures == 0 {
            return self.heartbeat;
        }
        let backoff = Backoff {
            base: FIRST_WAIT,
            cap: self.heartbeat,
        };
        backoff.wait(self.failures, chance())
    }

    fn note(&mut self, outcome: Result<()>, failed: &str) {
        let service = &self.instance.service;
        match outcome {
            Ok(()) => self.failures = 0,
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                tracing::warn!(error = %chain(&error), service, "{failed}");
            }
        }
    }

    async fn live(&self) -> Result<()> {
        if in_time(self.registry.heartbeat(&self.instance.id)).await? {
            return Ok(());
        }
        self.enter().await
    }

    async fn enter(&self) -> Result<()> {
        in_time(self.registry.register(self.instance.clone())).await
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let answer = env::timeout(PATIENCE, answer).await;
    answer.unwrap_or_else(|late| {
        let source: BoxError = late.into();
        Err(Error::Registry { source })
    })
}
