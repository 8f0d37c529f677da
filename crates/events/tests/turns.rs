//! A handler whose transaction meets another one runs again when it is its turn; what it prepares holds up nobody.

mod support;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use data::{Database, Migration, Transaction, params};
use env::BoxError;
use events::{
    Bus, CloudEvent, Handlers,
    consumer::{self, Outcome},
};
use outrigger_events as events;
use servers::Postgres;
use support::{Folder, event, eventually, soon};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

const GROUP: &str = "counter-service";
const COUNTERS: &[Migration] = &[Migration::new(
    1,
    "counters",
    "CREATE TABLE counters (id TEXT PRIMARY KEY, n BIGINT NOT NULL);
     INSERT INTO counters VALUES ('handled', 0), ('asked', 0), ('besides', 0)",
)];

/// A service on PostgreSQL, and another process on the same database.
struct Scene {
    db: Database,
    other: Database,
    /// How many runs of the handler are still to meet the other process.
    collisions: AtomicU32,
    /// How often the handler has prepared.
    prepared: AtomicU32,
    /// What must be opened before it prepares a second time.
    provider: Semaphore,
}

/// Adds one to a counter that it has read, and lets the other process change it in between while `collisions` are left.
async fn count(
    tx: &mut Transaction,
    id: &str,
    other: &Database,
    collisions: &AtomicU32,
) -> Result<(), BoxError> {
    let read = "SELECT n FROM counters WHERE id = $1";
    let row = tx.query_one(read, params![id]).await?.ok_or("no row")?;
    let n: i64 = row.get("n")?;
    let left = |it: u32| it.checked_sub(1);
    let collides = collisions.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
    if collides.is_ok() {
        let touch = "UPDATE counters SET n = n WHERE id = $1";
        let touched = other.transaction(async |mut tx| tx.execute(touch, params![id]).await);
        touched.await?;
    }
    let write = "UPDATE counters SET n = $2 WHERE id = $1";
    tx.execute(write, params![id, n + 1]).await?;
    Ok(())
}

async fn handle(tx: &mut Transaction, _: CloudEvent, scene: Arc<Scene>) -> Result<(), BoxError> {
    count(tx, "handled", &scene.other, &scene.collisions).await
}

impl Scene {
    async fn new(server: &Postgres, collisions: u32) -> Arc<Self> {
        let url = server.database("counters").await.expect("a database");
        let open = async || Database::open(&url).await.expect("a database");
        let db = open().await.owned_by(GROUP);
        db.migrate(COUNTERS).await.expect("migrated");
        Arc::new(Self {
            db,
            other: open().await,
            collisions: collisions.into(),
            prepared: AtomicU32::new(0),
            provider: Semaphore::new(0),
        })
    }

    async fn counter(&self, id: &str) -> i64 {
        let read = "SELECT n FROM counters WHERE id = $1";
        let row = self.db.query_one(read, params![id]).await;
        let row = row.expect("a database").expect("a row");
        row.get("n").expect("a number")
    }
}

/// Handles one event, and `meanwhile` does what the test is about. Returns how the attempts ended.
async fn consume(
    scene: &Arc<Scene>,
    handlers: Handlers,
    meanwhile: impl AsyncFnOnce(),
) -> Vec<Outcome> {
    let folder = Folder::new();
    let bus = folder.bus().await;
    let event = event("order.created", "a", 1);
    bus.publish(vec![event]).await.expect("published");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&seen);
    let tell = move |it: &consumer::Processed<'_>| {
        let mut seen = telling.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(it.outcome);
    };
    let options = consumer::Options {
        observer: Some(Arc::new(tell)),
        ..consumer::Options::default()
    };
    let (db, stop) = (scene.db.clone(), CancellationToken::new());
    let stopping = stop.clone();
    let running = async move { consumer::run(db, bus, GROUP, handlers, options, stopping).await };
    let running = tokio::spawn(running);
    meanwhile().await;
    eventually("it is handled", async || {
        scene.counter("handled").await == 1
    })
    .await;
    stop.cancel();
    running.await.expect("no panic").expect("it ends well");
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preparation_that_has_a_transaction_of_its_own_never_waits_for_its_handler() {
    let server = Postgres::start().await.expect("a server");
    // With the second the handler would keep those that come new waiting.
    let scene = Scene::new(&server, 2).await;
    let preparing = Arc::clone(&scene);
    let prepare = move |_: CloudEvent| {
        let scene = Arc::clone(&preparing);
        async move {
            let ask = "UPDATE counters SET n = n + 1 WHERE id = 'asked'";
            let asked = scene
                .db
                .transaction(async |mut tx| tx.execute(ask, &[]).await);
            asked.await?;
            Ok(scene)
        }
    };
    let handlers = Handlers::new().on_raw_prepared("order.created", prepare, handle);

    let outcomes = consume(&scene, handlers, async || {}).await;

    assert_eq!(outcomes, [Outcome::Handled], "no attempt took too long");
    assert_eq!(scene.counter("asked").await, 3, "once for each run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_provider_holds_up_no_other_transaction() {
    let server = Postgres::start().await.expect("a server");
    let scene = Scene::new(&server, 1).await;
    let preparing = Arc::clone(&scene);
    let prepare = move |_: CloudEvent| {
        let scene = Arc::clone(&preparing);
        async move {
            if scene.prepared.fetch_add(1, Ordering::SeqCst) > 0 {
                scene.provider.acquire().await?.forget();
            }
            Ok(scene)
        }
    };
    let handlers = Handlers::new().on_raw_prepared("order.created", prepare, handle);

    let outcomes = consume(&scene, handlers, async || {
        let waits = async || scene.prepared.load(Ordering::SeqCst) == 2;
        eventually("the handler asks its provider again", waits).await;
        // Another one that meets somebody, and runs again when it is its turn.
        let collisions = AtomicU32::new(1);
        let other = scene.db.transaction(async |mut tx| {
            count(&mut tx, "besides", &scene.other, &collisions).await?;
            Ok::<_, BoxError>(())
        });
        soon(other).await.expect("done");
        scene.provider.add_permits(1);
    })
    .await;

    assert_eq!(outcomes, [Outcome::Handled], "no attempt took too long");
    assert_eq!(scene.counter("besides").await, 1);
}
