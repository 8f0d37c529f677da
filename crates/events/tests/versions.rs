//! Events whose type gets a new version: who may publish them, and who gets them.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use data::{Migration, Transaction, params};
use env::BoxError;
use events::{
    CloudEvent, Error, Event, Handlers, JsonSchema, Publish, consumer, relay, schema, schemars,
};
use outrigger_events as events;
use serde::{Deserialize, Serialize};
use support::{Folder, eventually};
use tokio_util::sync::CancellationToken;

#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[event("lamp.lit", version = 1, key = lamp, crate = events)]
struct Lit {
    lamp: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[event("lamp.lit", version = 2, key = lamp, crate = events)]
struct LitNow {
    lamp: String,
    lumen: u32,
}

async fn note(tx: &mut Transaction, text: String) -> Result<(), BoxError> {
    tx.execute("INSERT INTO notes (text) VALUES ($1)", params![text])
        .await?;
    Ok(())
}

async fn lit(tx: &mut Transaction, event: Lit) -> Result<(), BoxError> {
    note(tx, format!("1 {}", event.lamp)).await
}

async fn lit_now(tx: &mut Transaction, event: LitNow) -> Result<(), BoxError> {
    note(tx, format!("2 {} {}", event.lamp, event.lumen)).await
}

async fn any(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    note(tx, event.kind).await
}

#[tokio::test]
async fn g12_a_service_publishes_what_it_has_declared() {
    let folder = Folder::new();
    let db = folder.database("lamp-service").await;
    let db = db.publishing([schema::uri::<Lit>()]);
    let mut tx = db.begin().await.unwrap();
    tx.publish(Lit {
        lamp: "a".to_owned(),
    })
    .unwrap();
    let refused = tx
        .publish(LitNow {
            lamp: "a".to_owned(),
            lumen: 1,
        })
        .unwrap_err();
    assert!(
        matches!(refused, Error::Undeclared { version: 2, .. }),
        "{refused}"
    );
    assert_eq!(
        refused.to_string(),
        "lamp-service publishes lamp.lit v2 without declaring it; \
         add `.publishes::<..>()` of that event to the description of lamp-service"
    );
}

#[tokio::test]
async fn g12_each_version_goes_to_its_handler() {
    let folder = Folder::new();
    let db = folder.database("home-service").await;
    let sql = "CREATE TABLE notes (position INTEGER PRIMARY KEY, text TEXT NOT NULL)";
    db.migrate(&[Migration::new(1, "notes", sql)])
        .await
        .unwrap();
    let bus = folder.bus().await;
    let stop = CancellationToken::new();
    tokio::spawn(relay::run(
        db.clone(),
        bus.clone(),
        relay::Options::default(),
        stop.clone(),
    ));
    let handlers = Handlers::new()
        .on::<Lit, _>(lit)
        .on::<LitNow, _>(lit_now)
        .on_raw("lamp.*", any);
    let options = consumer::Options::default();
    tokio::spawn(consumer::run(
        db.clone(),
        bus,
        "home-service",
        handlers,
        options,
        stop.clone(),
    ));

    let mut tx = db.begin().await.unwrap();
    tx.publish(Lit {
        lamp: "a".to_owned(),
    })
    .unwrap();
    tx.publish(LitNow {
        lamp: "a".to_owned(),
        lumen: 9,
    })
    .unwrap();
    tx.commit().await.unwrap();
    let notes = || async {
        let rows = db
            .query("SELECT text FROM notes ORDER BY position", &[])
            .await
            .unwrap();
        rows.iter()
            .map(|row| row.get::<String>(0).unwrap())
            .collect::<Vec<_>>()
    };
    eventually("all are handled", || async { notes().await.len() == 4 }).await;
    assert_eq!(notes().await, ["1 a", "lamp.lit", "2 a 9", "lamp.lit"]);
    stop.cancel();
}
