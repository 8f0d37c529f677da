//! Going back on the bus: what a group was given, it is given once more.
//!
//! The inbox stays as it is, so what the service has handled changes nothing, and what it has lost comes back: after
//! its database was restored from a backup, go back to the time of the backup. A handler that is to handle events
//! *again*, because it was wrong or what it wrote is gone, is named; its entries since then are forgotten first.

use data::{Database, Transaction, params};
use env::Timestamp;

use crate::{Bus, Result};

/// Delivers to `group`, whose database is `db`, what `bus` has taken from `since` on and still has. The handlers in
/// `again` handle it as if it were new; they are named by what they are for, as the [inbox](crate::Handlers) names them.
///
/// What waits in the database to be tried again, and what is a dead letter, stays that.
///
/// # Errors
/// [`UnknownGroup`](crate::Error::UnknownGroup), [`Unsuitable`](crate::Error::Unsuitable) where the bus cannot, and what
/// bus and database say. After any of them it may be done again.
pub async fn rewind(
    db: &Database,
    bus: &dyn Bus,
    group: &str,
    since: Timestamp,
    again: &[String],
) -> Result<()> {
    let forget = Box::pin(async {
        let forgotten = db.transaction(async |mut tx| forget(&mut tx, group, since, again).await);
        Ok(forgotten.await?)
    });
    bus.rewind(group, since, forget).await
}

async fn forget(
    tx: &mut Transaction,
    group: &str,
    since: Timestamp,
    again: &[String],
) -> data::Result<()> {
    if again.is_empty() {
        return Ok(());
    }
    // That an event was taken over, and is no more, must not keep it from the handlers; those that are not named know
    // it by their own entries.
    let taken_over =
        "DELETE FROM outrigger_inbox WHERE consumer = $1 AND received_at >= $2 AND NOT EXISTS
                      (SELECT 1 FROM outrigger_deferred d
                       WHERE d.consumer_group = $1 AND d.message_id = outrigger_inbox.message_id)";
    tx.execute(taken_over, params![group, since]).await?;
    let handled = "DELETE FROM outrigger_inbox WHERE consumer = $1 AND received_at >= $2";
    for handler in again {
        tx.execute(handled, params![format!("{group}/{handler}"), since])
            .await?;
    }
    Ok(())
}
