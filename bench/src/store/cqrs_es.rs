//! The same by `cqrs-es` with `postgres-es`: a program of its own, because its driver links another SQLite.

use std::{env::current_exe, time::Duration};

use tokio::process::Command;
use tokio_postgres::NoTls;

use crate::{Result, account};

/// As the crate's own `db/init.sql` has it.
const TABLE: &str = "
    CREATE TABLE events (
        aggregate_type TEXT NOT NULL,
        aggregate_id TEXT NOT NULL,
        sequence BIGINT CHECK (sequence >= 0) NOT NULL,
        event_type TEXT NOT NULL,
        event_version TEXT NOT NULL,
        payload JSON NOT NULL,
        metadata JSON NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence)
    )";

/// Appends a second, each in a transaction of its own.
pub async fn appends(url: &str, writers: usize, time: Duration) -> Result<f64> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute(TABLE).await?;
    drop(client);
    connection.await??;
    // `bench/run` builds it into the same folder.
    let program = current_exe()?.with_file_name("outrigger-bench-cqrs-es");
    let output = Command::new(&program)
        .arg(url)
        .arg(writers.to_string())
        .arg(time.as_secs_f64().to_string())
        .arg(account::stored()?)
        .output()
        .await
        .map_err(|error| format!("{}: {error}; start with bench/run", program.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
