//! A system is not at rest while a read model has events to take.

use std::sync::Arc;

use data::{Database, Transaction, params};
use env::BoxError;
use eventsourcing::{
    Aggregate, Append, Expected, Projection, Recorded,
    projection::{self, Table},
};
use outrigger::{Inspection, Service, Settings, System, futures::future::BoxFuture};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Cart;

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum Change {
    Filled,
}

impl Aggregate for Cart {
    const KIND: &'static str = "cart";
    type Event = Change;
    fn apply(&mut self, _: &Change) {}
}

struct Carts;

impl Projection for Carts {
    fn name(&self) -> &str {
        "carts"
    }

    fn tables(&self) -> &[Table] {
        const CARTS: Table = Table::new("carts", &["CREATE TABLE carts_v1 (id TEXT PRIMARY KEY)"]);
        &[CARTS]
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Transaction,
        event: &'a Recorded,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let insert = "INSERT INTO carts_v1 VALUES ($1)";
            tx.execute(insert, params![event.id()]).await?;
            Ok(())
        })
    }
}

struct Shop {
    db: Database,
    system: System,
    settings: Settings,
    _folder: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Result<Self, BoxError> {
        let folder = tempfile::tempdir()?;
        let settings = Settings {
            data: folder.path().to_owned(),
            ..Settings::default()
        };
        let url = settings.database_of("carts");
        let db = Database::open(url.reveal()).await?.owned_by("carts");
        events::install(&db).await?;
        saga::Sagas::open(db.clone()).await?;
        eventsourcing::install(&db).await?;
        projection::prepare(&db, &Carts).await?;
        Ok(Self {
            db,
            system: System::new("shop").service(Service::new("carts").projection(Carts)),
            settings,
            _folder: folder,
        })
    }

    async fn fill(&self, id: &str) -> Result<(), BoxError> {
        let mut tx = self.db.begin().await?;
        tx.append::<Cart>(id, Expected::NoStream, &[Change::Filled])
            .await?;
        Ok(tx.commit().await?)
    }

    async fn unrest(&self) -> Result<Vec<String>, BoxError> {
        let view = Inspection::of(&self.system, &self.settings).await?;
        Ok(view.unrest().await?)
    }
}

#[tokio::test]
async fn a_read_model_that_has_events_to_take_is_unrest_until_it_has_taken_them()
-> Result<(), BoxError> {
    let shop = Shop::open().await?;
    assert_eq!(shop.unrest().await?, [""; 0]);
    shop.fill("1").await?;
    let behind = ["carts: projection carts has events to take"];
    assert_eq!(shop.unrest().await?, behind);
    let stop = CancellationToken::new();
    let running = projection::run(shop.db.clone(), Arc::new(Carts), stop.clone());
    let running = tokio::spawn(running);
    while !shop.unrest().await?.is_empty() {
        env::sleep(std::time::Duration::from_millis(10)).await;
    }
    stop.cancel();
    running.await?;
    // What stands still because it was told to is at rest.
    shop.fill("2").await?;
    assert_eq!(shop.unrest().await?, behind);
    projection::pause(&shop.db, "carts").await?;
    assert_eq!(shop.unrest().await?, [""; 0]);
    Ok(())
}
