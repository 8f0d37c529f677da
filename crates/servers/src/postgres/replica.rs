//! A server that follows another one, and may take its place.

use super::{ADMINISTRATOR, Postgres};
use crate::{
    Error,
    programs::{command, run},
};

impl Postgres {
    /// Starts a server that follows this one, by streaming, with the same settings: a standby. It answers queries, and
    /// takes no writes until it is [promoted](Self::promote).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn replica(&self) -> Result<Self, Error> {
        let mut replica = Self::at_home(self.password.clone()).await?;
        let mut copy = command(&replica.programs.join("pg_basebackup"), replica.user);
        copy.args(["--host=127.0.0.1", "--username", ADMINISTRATOR])
            .arg(format!("--port={}", self.port))
            .args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf"])
            .arg("--pgdata")
            .arg(replica.folder.join("data"));
        if let Some(password) = &self.password {
            copy.env("PGPASSWORD", password);
        }
        run(copy)?;
        replica.set(&[("port".to_owned(), replica.port.to_string())])?;
        replica.restart().await?;
        Ok(replica)
    }

    /// Has commits wait until a [replica](Self::replica) has written them to its disk as well.
    ///
    /// # Errors
    /// As [`sql`](Self::sql).
    pub fn commit_on_a_replica(&self) -> Result<(), Error> {
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")?;
        self.sql("SELECT pg_reload_conf()")
    }

    /// Makes a replica a server of its own, which takes writes, and returns when it does.
    ///
    /// # Errors
    /// As [`sql`](Self::sql).
    pub fn promote(&self) -> Result<(), Error> {
        self.sql("SELECT pg_promote()")
    }
}
