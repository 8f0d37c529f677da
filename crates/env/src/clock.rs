//! Wall time, monotonic time and waiting.

use std::{future::Future, time::Duration};

pub use jiff::{SignedDuration, Timestamp};
pub use tokio::time::{Instant, error::Elapsed};

use crate::{pure, world};

/// Wall time, for what people and other systems read. It may jump; measure with [`instant`].
#[expect(clippy::disallowed_methods, reason = "this is the seam")]
pub fn now() -> Timestamp {
    pure::ask("env::now");
    world::current().map_or_else(Timestamp::now, |world| world.now())
}

/// Monotonic time, for measuring and for deadlines.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the seam: a simulation drives tokio's clock"
)]
pub fn instant() -> Instant {
    pure::ask("env::instant");
    Instant::now()
}

/// Waits for `duration`.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the seam: a simulation drives tokio's clock"
)]
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until `deadline`; returns at once when it has passed.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline).await;
}

/// Runs `future` for at most `limit`.
///
/// # Errors
/// [`Elapsed`] when the limit passed first; `future` is dropped then.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(limit, future).await
}
