//! A payment provider that is slow, and does few things at once.

use std::{sync::Arc, time::Duration};

use outrigger::env;
use payment::provider::{Charge, Provider, Unreachable, Verdict};
use tokio::sync::Semaphore;

/// How long a charge takes.
pub(crate) const TAKES: Duration = Duration::from_millis(50);
/// So many at once.
pub(crate) const AT_ONCE: usize = 4;

/// See the module.
#[derive(Clone)]
pub(crate) struct Slow(Arc<Semaphore>);

impl Default for Slow {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Provider for Slow {
    async fn charge(&self, _: &Charge, _: u32) -> Result<Verdict, Unreachable> {
        let _place = self.0.acquire().await.map_err(|error| Unreachable {
            reason: error.to_string(),
        })?;
        env::sleep(TAKES).await;
        Ok(Verdict::Captured)
    }

    async fn void(&self, _: &str) -> Result<(), Unreachable> {
        Ok(())
    }

    async fn refund(&self, _: &str) -> Result<(), Unreachable> {
        Ok(())
    }
}
