//! A store that an earlier version made is taken over as it is.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use data::{Database, Migration, params};
use outrigger_eventsourcing::{self as eventsourcing, Position, Store, projection};

#[tokio::test]
async fn events_and_places_of_the_first_form_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("old.sqlite").display());
    let db = Database::open(&url).await.unwrap();
    let first = include_str!("../migrations/sqlite_0001.sql");
    db.migrate_part("eventsourcing", &[Migration::new(1, "event store", first)])
        .await
        .unwrap();
    let mut tx = db.begin().await.unwrap();
    for position in [1, 2] {
        let insert =
            "INSERT INTO outrigger_events VALUES ($1, 'account/1', $1, 'Noted', '1', '{}', 5)";
        tx.execute(insert, params![position]).await.unwrap();
    }
    let place = "INSERT INTO outrigger_projections VALUES ('notes', 1, 0, NULL, 7)";
    tx.execute(place, params![]).await.unwrap();
    tx.commit().await.unwrap();

    eventsourcing::install(&db).await.unwrap();
    let all = Store::new(db.clone())
        .read_all(Position::START, 10)
        .await
        .unwrap();
    let read: Vec<_> = all
        .iter()
        .map(|event| (event.version, event.schema))
        .collect();
    assert_eq!(read, [(1, 1), (2, 1)]);
    let status = projection::status(&db, "notes").await.unwrap();
    assert_eq!(status.position, all[0].position);
}
