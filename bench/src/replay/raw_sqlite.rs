//! The same rows by `rusqlite` alone.

use rusqlite::{Connection, params};

use crate::{Result, account::Data};

/// So many events are taken in one transaction.
const PAGE: u32 = 1000;

/// Reads the stream and adds up; how many events it has.
pub fn load(file: &str) -> Result<u64> {
    let connection = Connection::open(file)?;
    let mut read = connection
        .prepare("SELECT data FROM outrigger_events WHERE stream = 'account/1' ORDER BY version")?;
    let mut rows = read.query([])?;
    let (mut seen, mut balance) = (0, 0);
    while let Some(row) = rows.next()? {
        let data: Data = serde_json::from_str(row.get_ref(0)?.as_str()?)?;
        balance += data.amount;
        seen += 1;
    }
    std::hint::black_box(balance);
    Ok(seen)
}

/// Keeps the balance of each account, with the place in the store; how many events were taken.
pub fn rebuild(file: &str) -> Result<u64> {
    let connection = Connection::open(file)?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         DROP TABLE IF EXISTS raw_balances;
         DROP TABLE IF EXISTS raw_place;
         CREATE TABLE raw_balances (account TEXT PRIMARY KEY, amount INTEGER NOT NULL);
         CREATE TABLE raw_place (sequence INTEGER NOT NULL);
         INSERT INTO raw_place VALUES (0)",
    )?;
    let mut read = connection.prepare(
        "SELECT sequence, data FROM outrigger_events WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let mut add = connection.prepare(
        "INSERT INTO raw_balances (account, amount) VALUES (?1, ?2)
         ON CONFLICT (account) DO UPDATE SET amount = raw_balances.amount + excluded.amount",
    )?;
    let mut move_on = connection.prepare("UPDATE raw_place SET sequence = ?1")?;
    let (mut seen, mut place) = (0, 0_i64);
    loop {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut rows = read.query(params![place, PAGE])?;
        let before = seen;
        while let Some(row) = rows.next()? {
            place = row.get(0)?;
            let data: Data = serde_json::from_str(row.get_ref(1)?.as_str()?)?;
            add.execute(params![data.account, data.amount])?;
            seen += 1;
        }
        drop(rows);
        move_on.execute([place])?;
        connection.execute_batch("COMMIT")?;
        if seen == before {
            return Ok(seen);
        }
    }
}
