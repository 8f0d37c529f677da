//! From the outbox of a service to the bus.
//!
//! What is guaranteed: what is in the outbox is brought to the bus, in order, and removed once the bus has it
//! durably. A crash between the two brings it twice, which the bus notices by the event's id (G2).
//!
//! There must be one relay for each database, for two would overtake each other.

use std::{sync::Arc, time::Duration};

use data::Database;
use env::chain;
use tokio_util::sync::CancellationToken;

use crate::{Backoff, Bus, CloudEvent, Result};

/// How many events are brought at once.
const BATCH: u32 = 256;
/// How often the outbox is looked at, whoever may have said that there is something in it.
const POLL: Duration = Duration::from_secs(1);
/// How long the last look may take once the service stops; what is left then is brought at the next start.
const FLUSH: Duration = Duration::from_secs(5);

/// Brings events to the bus until `shutdown`, and then what is left.
///
/// While the bus does not answer, it backs off and goes on trying. Events wait in the outbox meanwhile.
pub async fn run(db: Database, bus: Arc<dyn Bus>, shutdown: CancellationToken) {
    let backoff = Backoff::default();
    let mut failures = 0;
    let mut changes = db.outbox_changed();
    while !shutdown.is_cancelled() {
        match flush(&db, bus.as_ref()).await {
            Ok(()) => {
                failures = 0;
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => {}
                    () = changes.wait() => {}
                    () = env::sleep(POLL) => {}
                }
            }
            Err(error) => {
                failures += 1;
                let delay = backoff.delay(failures);
                tracing::warn!(
                    service = db.owner(),
                    error = chain(&error),
                    failures,
                    delay_ms = delay.as_millis(),
                    "events wait in the outbox: they could not be brought to the bus"
                );
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => {}
                    () = env::sleep(delay) => {}
                }
            }
        }
    }
    match env::timeout(FLUSH, flush(&db, bus.as_ref())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(
            service = db.owner(),
            error = chain(&error),
            "events stay in the outbox until the next start"
        ),
        Err(_) => tracing::warn!(
            service = db.owner(),
            limit_ms = FLUSH.as_millis(),
            "events stay in the outbox until the next start: the bus was too slow"
        ),
    }
}

/// Brings everything that is in the outbox now.
async fn flush(db: &Database, bus: &dyn Bus) -> Result<()> {
    loop {
        let batch = db.outbox_batch(BATCH).await?;
        if batch.is_empty() {
            return Ok(());
        }
        let mut sequences = Vec::with_capacity(batch.len());
        let mut events = Vec::with_capacity(batch.len());
        for (sequence, message) in batch {
            sequences.push(sequence);
            events.push(CloudEvent::from_json(&message.payload)?);
        }
        bus.publish(events).await?;
        db.outbox_delete(&sequences).await?;
    }
}
