//! The table of notifications.

use contracts::{Cursor, Page, PageRequest, notification::Notification};
use outrigger::{data, env::Timestamp, prelude::*};

use crate::domain::Notice;

/// The changes that make the table.
pub const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "notifications",
    include_str!("../migrations/0001_notifications.sql"),
)];

/// Writes down a notice; false when it was there already.
pub async fn insert(tx: &mut Transaction, notice: &Notice, at: Timestamp) -> data::Result<bool> {
    let inserted = tx
        .execute(
            "INSERT INTO notifications (id, user_id, email, about, subject, body, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
            params![
                notice.id.as_str(),
                notice.user_id.as_str(),
                notice.email.as_str(),
                notice.about,
                notice.subject.as_str(),
                notice.body.as_str(),
                at
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// Reads a page of what a user was told.
pub async fn list(
    db: &Database,
    user_id: &str,
    page: &PageRequest,
) -> data::Result<Page<Notification>> {
    let sql = "SELECT id, user_id, email, about, subject, body, created_at FROM notifications
               WHERE user_id = $1 AND (created_at, id) < ($2, $3)
               ORDER BY created_at DESC, id DESC LIMIT $4";
    let after = page.after();
    let rows = db
        .query(sql, params![user_id, after.at_ms, after.id, page.fetch()])
        .await?;
    let notifications = rows
        .iter()
        .map(notification)
        .collect::<data::Result<Vec<_>>>()?;
    Ok(page.page(notifications, |row| Cursor::after(row.created_at, &row.id)))
}

fn notification(row: &Row) -> data::Result<Notification> {
    Ok(Notification {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        email: row.get("email")?,
        about: row.get("about")?,
        subject: row.get("subject")?,
        body: row.get("body")?,
        created_at: row.get("created_at")?,
    })
}
