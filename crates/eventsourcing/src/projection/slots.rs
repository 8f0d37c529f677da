//! The versions of a projection: making a new one's tables, turning the views to them, dropping the old one's.

use data::{Database, Transaction, params};

use super::{
    Projection, Table,
    status::{State, Status, physical, versions},
};
use crate::{Error, Position, Result};

/// Makes the tables of `projection` where they are not there yet. Where no version of it serves, this one does at once.
///
/// [`run`](super::run) does it too; before it, there is nothing to read.
///
/// # Errors
/// [`Error::NoTables`], [`Error::TableName`], [`Error::Database`].
pub async fn prepare(db: &Database, projection: &dyn Projection) -> Result<()> {
    projection.tables().iter().try_for_each(check)?;
    db.transaction(async |mut tx| make(&mut tx, projection).await)
        .await
}

async fn make(tx: &mut Transaction, projection: &dyn Projection) -> Result<()> {
    let (name, version) = (projection.name(), projection.version());
    let known = versions(tx, name).await?;
    // This one is there, or a newer one: then this one has had its time.
    if known.iter().any(|status| status.version >= version) {
        return Ok(());
    }
    let tables = projection.tables();
    let state = if serving(&known).is_some() {
        State::Building
    } else {
        State::Serving
    };
    if state == State::Building && tables.is_empty() {
        return Err(Error::NoTables {
            name: name.to_owned(),
            version,
        });
    }
    let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
    let inserted = tx
        .execute(
            "INSERT INTO outrigger_projections
             (name, version, state, position, paused, tables, failures, updated)
             VALUES ($1, $2, $3, $4, 0, $5, 0, $6) ON CONFLICT DO NOTHING",
            params![
                name,
                version,
                state.name(),
                Position::START.to_string(),
                serde_json::Value::from(names).to_string(),
                env::now()
            ],
        )
        .await?;
    if inserted == 0 {
        return Ok(()); // another instance is at it
    }
    for table in tables {
        for statement in table.create {
            tx.execute(statement, params![]).await?;
        }
        // A table of another name would be noticed by whoever reads, much later.
        let there = format!("SELECT 1 FROM {} LIMIT 1", physical(table.name, version));
        tx.query(&there, params![]).await?;
        if state == State::Serving {
            show(tx, table.name, version).await?;
        }
    }
    Ok(())
}

/// Lets this version be read in place of an older one, if it is as far; whether it is now.
pub(super) async fn switch(db: &Database, name: &str, version: u32) -> Result<bool> {
    db.transaction(async |mut tx| {
        let known = versions(&mut tx, name).await?;
        let Some(mine) = known.iter().find(|status| status.version == version) else {
            return Ok(false);
        };
        let old = serving(&known);
        if old.is_some_and(|old| old.version > version || old.position > mine.position) {
            return Ok(false);
        }
        // On rows and not on what was read: whoever moves one of them meanwhile makes this fail, and be run again.
        let serve = "UPDATE outrigger_projections SET state = 'serving'
                     WHERE name = $1 AND version = $2 AND state = 'building'";
        if tx.execute(serve, params![name, version]).await? == 0 {
            return Ok(false);
        }
        let retire = "UPDATE outrigger_projections SET state = 'retired'
                      WHERE name = $1 AND version < $2";
        tx.execute(retire, params![name, version]).await?;
        for table in old.iter().flat_map(|old| &old.tables) {
            tx.execute(&format!("DROP VIEW IF EXISTS {table}"), params![])
                .await?;
        }
        for table in &mine.tables {
            show(&mut tx, table, version).await?;
        }
        Ok(true)
    })
    .await
}

/// Drops what nobody reads any more.
pub(super) async fn drop_retired(db: &Database, name: &str) -> Result<()> {
    db.transaction(async |mut tx| {
        let known = versions(&mut tx, name).await?;
        for old in known.iter().filter(|status| status.state == State::Retired) {
            let forget = "DELETE FROM outrigger_projections
                          WHERE name = $1 AND version = $2 AND state = 'retired'";
            tx.execute(forget, params![name, old.version]).await?;
            for table in &old.tables {
                let table = physical(table, old.version);
                tx.execute(&format!("DROP TABLE IF EXISTS {table}"), params![])
                    .await?;
            }
            tracing::info!(projection = name, version = old.version, "dropped");
        }
        Ok(())
    })
    .await
}

async fn show(tx: &mut Transaction, table: &str, version: u32) -> Result<()> {
    tx.execute(&format!("DROP VIEW IF EXISTS {table}"), params![])
        .await?;
    let view = format!(
        "CREATE VIEW {table} AS SELECT * FROM {}",
        physical(table, version)
    );
    tx.execute(&view, params![]).await?;
    Ok(())
}

fn serving(known: &[Status]) -> Option<&Status> {
    known.iter().find(|status| status.state == State::Serving)
}

/// The name becomes part of statements.
fn check(table: &Table) -> Result<()> {
    let fits =
        |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_';
    let starts = table
        .name
        .starts_with(|first: char| first.is_ascii_lowercase());
    if starts && table.name.bytes().all(fits) && table.name.len() <= 48 {
        return Ok(());
    }
    Err(Error::TableName {
        name: table.name.to_owned(),
    })
}
