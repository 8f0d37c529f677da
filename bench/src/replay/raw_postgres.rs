//! The same rows by `tokio-postgres` alone.

use std::pin::pin;

use futures::TryStreamExt;
use tokio_postgres::{Client, NoTls, types::ToSql};

use crate::{Result, account::Data};

/// So many events are taken in one transaction.
const PAGE: i64 = 1000;

/// Reads the stream and adds up; how many events it has.
pub async fn load(url: &str) -> Result<u64> {
    let client = connect(url).await?;
    let read = "SELECT data FROM outrigger_events WHERE stream = 'account/1' ORDER BY version";
    let none: [&(dyn ToSql + Sync); 0] = [];
    let mut rows = pin!(client.query_raw(read, none).await?);
    let (mut seen, mut balance) = (0, 0);
    while let Some(row) = rows.try_next().await? {
        let data: Data = serde_json::from_str(row.try_get(0)?)?;
        balance += data.amount;
        seen += 1;
    }
    std::hint::black_box(balance);
    Ok(seen)
}

/// Keeps the balance of each account, with the place in the store; how many events were taken.
pub async fn rebuild(url: &str) -> Result<u64> {
    let client = connect(url).await?;
    client
        .batch_execute(
            "DROP TABLE IF EXISTS raw_balances;
             DROP TABLE IF EXISTS raw_place;
             CREATE TABLE raw_balances (account TEXT PRIMARY KEY, amount BIGINT NOT NULL);
             CREATE TABLE raw_place (xact BIGINT NOT NULL, sequence BIGINT NOT NULL);
             INSERT INTO raw_place VALUES (0, 0)",
        )
        .await?;
    let read = client
        .prepare(
            "SELECT xact, sequence, data FROM outrigger_events WHERE (xact, sequence) > ($1, $2)
             ORDER BY xact, sequence LIMIT $3",
        )
        .await?;
    let add = client
        .prepare(
            "INSERT INTO raw_balances (account, amount) VALUES ($1, $2)
             ON CONFLICT (account) DO UPDATE SET amount = raw_balances.amount + excluded.amount",
        )
        .await?;
    let move_on = client
        .prepare("UPDATE raw_place SET xact = $1, sequence = $2")
        .await?;
    let (mut seen, mut place) = (0, (0_i64, 0_i64));
    loop {
        client.batch_execute("BEGIN").await?;
        let rows = client.query(&read, &[&place.0, &place.1, &PAGE]).await?;
        for row in &rows {
            let data: Data = serde_json::from_str(row.try_get(2)?)?;
            client.execute(&add, &[&data.account, &data.amount]).await?;
            place = (row.try_get(0)?, row.try_get(1)?);
            seen += 1;
        }
        client.execute(&move_on, &[&place.0, &place.1]).await?;
        client.batch_execute("COMMIT").await?;
        if rows.is_empty() {
            return Ok(seen);
        }
    }
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
