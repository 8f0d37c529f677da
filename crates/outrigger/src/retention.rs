//! What a service forgets, and when: nothing that it has dealt with piles up for ever.

use std::{sync::Arc, time::Duration};

use env::{SignedDuration, Timestamp, chain};
use events::Bus;
use tokio_util::sync::CancellationToken;

use crate::Context;

/// How much longer than the bus can deliver a message again a service remembers that it has handled it.
const INBOX_MARGIN: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it can tell of a saga that has ended.
const SAGAS: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often it forgets what is older.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Forgets what is old, until `stop`; answers to requests after `answers`.
pub(crate) async fn run(
    context: Context,
    bus: Arc<dyn Bus>,
    answers: Duration,
    stop: CancellationToken,
) {
    while stop.run_until_cancelled(env::sleep(EVERY)).await.is_some() {
        if let Err(error) = messages(&context, bus.as_ref()).await {
            tracing::warn!(error = %chain(&error), "cannot forget messages that were handled");
        }
        if let Err(error) = context.db().prune_idempotency(before(answers)).await {
            tracing::warn!(error = %chain(&error), "cannot forget requests that were answered");
        }
        if let Err(error) = context.sagas().forget(before(SAGAS)).await {
            tracing::warn!(error = %chain(&error), "cannot forget sagas that have ended");
        }
    }
}

/// What the bus can deliver again is remembered (G3), and so are the numbers of its events.
async fn messages(context: &Context, bus: &dyn Bus) -> events::Result<()> {
    let kept = bus.retention().await?.saturating_add(INBOX_MARGIN);
    context.db().prune_inbox(before(kept)).await?;
    events::sequence::forget(context.db(), before(kept)).await?;
    Ok(())
}

/// So long ago; of what is kept for ever, before all time.
fn before(kept: Duration) -> Timestamp {
    let kept = SignedDuration::try_from(kept).unwrap_or(SignedDuration::MAX);
    env::now().checked_sub(kept).unwrap_or(Timestamp::MIN)
}
