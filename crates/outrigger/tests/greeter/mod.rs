//! A system of one service, which writes down whom it has greeted.

use std::time::Duration;

use outrigger::{Running, events::CloudEvent, prelude::*};

pub(crate) type Done = Result<(), BoxError>;

pub(crate) const SERVICE: &str = "greeter-service";

const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "greeted",
    "CREATE TABLE greeted (position INTEGER PRIMARY KEY, id TEXT NOT NULL)",
)];

async fn greet(_: Context, tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    let insert = "INSERT INTO greeted (id) VALUES ($1)";
    tx.execute(insert, params![event.id]).await?;
    Ok(())
}

pub(crate) fn system() -> System {
    System::new("greetings").service(
        Service::new(SERVICE)
            .boundary(Boundary::of("greetings").owns(["greeted"]))
            .migrations(MIGRATIONS)
            .on_raw("guest.*", greet),
    )
}

/// Waits until the service has greeted those, in this order.
pub(crate) async fn until_greeted(running: &Running, wanted: &[&str]) -> Done {
    let db = running.services()[0].context().db();
    for _ in 0..1000 {
        let rows = db.query("SELECT id FROM greeted ORDER BY position", &[]);
        let ids: Result<Vec<String>, _> = rows.await?.iter().map(|row| row.get(0)).collect();
        if ids? == wanted {
            return Ok(());
        }
        env::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("in vain waited for {wanted:?}").into())
}
