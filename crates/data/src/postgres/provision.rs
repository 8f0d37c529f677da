//! A database and a role of its own for a service, which no other role can enter.

use std::sync::Arc;

use postgres_protocol::password::scram_sha_256;

use super::{
    connection::{Connection, Place},
    target::Target,
};
use crate::{Error, Result, params};

/// Makes the role `name` with `password`, and the database `name` that it owns and that it alone
/// (besides administrators) can connect to. What exists already stays, with the password set anew.
///
/// `admin` is the URL of a role that may create roles and databases. The server sees the password
/// only in the form in which it stores it, so that it is in no log of statements.
///
/// ```no_run
/// # use outrigger_data as data;
/// # async fn example() -> data::Result<()> {
/// data::provision("postgres://admin:secret@db.local/postgres", "order-service", "another secret").await?;
/// let db = data::Database::open("postgres://order-service:another%20secret@db.local/order-service").await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Url`], [`Error::Open`], [`Error::Unavailable`]; [`Error::Statement`] for what the
/// administrator may not do.
pub async fn provision(admin: &str, name: &str, password: &str) -> Result<()> {
    let target = Arc::new(Target::parse(admin)?);
    let mut server = Connection::open(&target).await?;
    server
        .batch("SET default_transaction_read_only = off")
        .await?;
    let id = format!("\"{}\"", name.replace('"', "\"\""));

    let roles = "SELECT 1 FROM pg_roles WHERE rolname = $1";
    let verb = match server
        .query(roles, params![name], Place::Within)
        .await?
        .len()
    {
        0 => "CREATE",
        _ => "ALTER",
    };
    let stored = scram_sha_256(password.as_bytes());
    let role = format!("{verb} ROLE {id} LOGIN PASSWORD '{stored}'");
    server.batch(&role).await.map_err(without_password)?;

    let databases = "SELECT 1 FROM pg_database WHERE datname = $1";
    if server
        .query(databases, params![name], Place::Within)
        .await?
        .is_empty()
    {
        // To give it away one must be a member of the role that gets it, unless one may do all.
        server.batch(&format!("GRANT {id} TO CURRENT_USER")).await?;
        server
            .batch(&format!("CREATE DATABASE {id} OWNER {id}"))
            .await?;
    }
    server
        .batch(&format!(
            "REVOKE ALL ON DATABASE {id} FROM PUBLIC; GRANT ALL ON DATABASE {id} TO {id}"
        ))
        .await
}

/// Whether there are a role and a database of this name on the server of `admin`.
///
/// # Errors
/// [`Error::Url`], [`Error::Open`], [`Error::Unavailable`].
pub async fn is_provisioned(admin: &str, name: &str) -> Result<bool> {
    let mut server = Connection::open(&Arc::new(Target::parse(admin)?)).await?;
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)
                  AND EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)";
    let rows = server.query(sql, params![name], Place::Within).await?;
    rows.first().map_or(Ok(false), |row| row.get(0))
}

fn without_password(error: Error) -> Error {
    match error {
        Error::Statement { kind, source, .. } => Error::Statement {
            sql: "CREATE ROLE … PASSWORD …".to_owned(),
            kind,
            source,
        },
        error => error,
    }
}
