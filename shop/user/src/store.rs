//! The table of users.

use contracts::{Cursor, Page, PageRequest, user::User};
use outrigger::{data, prelude::*};

/// The changes that make the table.
pub const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "users",
    include_str!("../migrations/0001_users.sql"),
)];

/// Adds a user; a unique violation when the id or the address is taken.
pub async fn insert(tx: &mut Transaction, user: &User) -> data::Result<()> {
    tx.execute(
        "INSERT INTO users (id, email, name, version, created_at) VALUES ($1, $2, $3, $4, $5)",
        params![
            user.id.as_str(),
            user.email.as_str(),
            user.name.as_str(),
            user.version,
            user.created_at
        ],
    )
    .await?;
    Ok(())
}

/// Reads a user for writing: the row stays as read until the transaction ends.
///
/// An update that changes nothing takes the row in every engine; `FOR UPDATE` is not known to all.
pub async fn take(tx: &mut Transaction, id: &str) -> data::Result<Option<User>> {
    let sql = "UPDATE users SET version = version WHERE id = $1
               RETURNING id, email, name, version, created_at";
    tx.query_one(sql, params![id])
        .await?
        .as_ref()
        .map(user)
        .transpose()
}

/// Writes a user that was [taken](take); a unique violation when the address is another user's.
pub async fn update(tx: &mut Transaction, user: &User) -> data::Result<()> {
    tx.execute(
        "UPDATE users SET email = $2, name = $3, version = $4 WHERE id = $1",
        params![
            user.id.as_str(),
            user.email.as_str(),
            user.name.as_str(),
            user.version
        ],
    )
    .await?;
    Ok(())
}

/// Reads a user.
pub async fn find(db: &Database, id: &str) -> data::Result<Option<User>> {
    let sql = "SELECT id, email, name, version, created_at FROM users WHERE id = $1";
    db.query_one(sql, params![id])
        .await?
        .as_ref()
        .map(user)
        .transpose()
}

/// Reads a page of users.
pub async fn list(db: &Database, page: &PageRequest) -> data::Result<Page<User>> {
    let sql = "SELECT id, email, name, version, created_at FROM users
               WHERE (created_at, id) < ($1, $2)
               ORDER BY created_at DESC, id DESC LIMIT $3";
    let after = page.after();
    let rows = db
        .query(sql, params![after.at_ms, after.id, page.fetch()])
        .await?;
    let users = rows.iter().map(user).collect::<data::Result<Vec<_>>>()?;
    Ok(page.page(users, |user| Cursor::after(user.created_at, &user.id)))
}

fn user(row: &Row) -> data::Result<User> {
    Ok(User {
        id: row.get("id")?,
        email: row.get("email")?,
        name: row.get("name")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}
