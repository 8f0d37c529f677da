//! What happened elsewhere, told to whom it concerns.

use contracts::notification::NotificationSent;
use outrigger::prelude::*;

use crate::{domain::Notice, store};

/// Tells of an event, unless that was done.
pub async fn tell<E: Event + Into<Notice>>(
    _: Context,
    tx: &mut Transaction,
    event: E,
) -> Result<(), BoxError> {
    let notice = event.into();
    if store::insert(tx, &notice, contracts::now()).await? {
        tx.publish(NotificationSent {
            notification_id: notice.id,
            user_id: notice.user_id,
            email: notice.email,
            about: notice.about.to_owned(),
        })?;
    }
    Ok(())
}
