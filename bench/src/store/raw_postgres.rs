//! The same rows by `tokio-postgres` alone: one connection, one prepared statement, so many rows a commit.

use std::time::Duration;

use tokio_postgres::NoTls;

use crate::{Result, account};

const TABLE: &str = "
    CREATE TABLE events (
        position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        stream TEXT COLLATE \"C\" NOT NULL,
        version BIGINT NOT NULL,
        type TEXT NOT NULL,
        schema_version BIGINT NOT NULL,
        data TEXT NOT NULL,
        metadata TEXT NOT NULL,
        recorded BIGINT NOT NULL,
        UNIQUE (stream, version)
    )";

/// All rows of a commit in one statement, which is one round trip and its own transaction.
const INSERT: &str = "
    INSERT INTO events (stream, version, type, schema_version, data, metadata, recorded)
    SELECT stream, version, 'Deposited', 1, data, metadata, recorded
    FROM unnest($1::TEXT[], $2::BIGINT[], $3::TEXT[], $4::TEXT[], $5::BIGINT[])
         AS row (stream, version, data, metadata, recorded)";

/// Rows a second.
pub async fn inserts(url: &str, rows: usize, time: Duration) -> Result<f64> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute(TABLE).await?;
    let insert = client.prepare(INSERT).await?;
    let streams: Vec<_> = (0..rows)
        .map(|writer| format!("account/account-{writer}"))
        .collect();
    let data = vec![account::stored()?; rows];
    let metadata = vec![account::metadata(); rows];
    let started = env::instant();
    let (mut done, mut version) = (0_u64, 0_i64);
    while env::instant() - started < time {
        version += 1;
        let versions = vec![version; rows];
        let recorded = vec![env::now().as_millisecond(); rows];
        done += client
            .execute(&insert, &[&streams, &versions, &data, &metadata, &recorded])
            .await?;
    }
    let rate = done as f64 / (env::instant() - started).as_secs_f64();
    drop(client);
    connection.await??;
    Ok(rate)
}
