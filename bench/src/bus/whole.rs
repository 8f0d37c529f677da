//! The whole way: a transaction with its outbox, the relay, the bus, a consumer with its inbox, a handler's
//! transaction.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use data::{Database, Migration, Transaction, params};
use env::{BoxError, RequestContext};
use events::{Bus, CloudEvent, Handlers, Publish, consumer, relay};
use futures::future;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::traffic::{Changed, Load, Measured, Meter, beside, event, first};
use crate::Result;

/// So many commit at the same time.
const WRITERS: usize = 64;

const TABLES: &[Migration] = &[Migration::new(
    1,
    "what is written beside events",
    "CREATE TABLE changes (account TEXT NOT NULL, amount BIGINT NOT NULL)",
)];

const WRITE: &str = "INSERT INTO changes VALUES ($1, $2)";

/// Between a service whose database is at `from` and one whose database is at `to`.
pub async fn measure(bus: Arc<dyn Bus>, (from, to): (&str, &str), load: Load) -> Result<Measured> {
    let (from, to) = (Database::open(from).await?, Database::open(to).await?);
    from.migrate(TABLES).await?;
    to.migrate(TABLES).await?;
    let meter = Meter::new(load);
    let options = consumer::Options {
        // It is told once the transaction has committed and the bus knows, still as part of what the event caused.
        observer: Some(Arc::new({
            let meter = meter.clone();
            move |_| meter.came(&RequestContext::current().causation_id.unwrap_or_default())
        })),
        ..consumer::Options::default()
    };
    let handlers = Handlers::new().on::<Changed, _>(write);
    let stop = CancellationToken::new();
    let source = from.clone();
    let services = async move {
        let relay = relay::Options::default();
        let relaying = tokio::spawn(relay::run(source, Arc::clone(&bus), relay, stop.clone()));
        let _relaying = AbortOnDropHandle::new(relaying);
        consumer::run(to, bus, "bench", handlers, options, stop).await?;
        Err("the consumer has ended".into())
    };
    let work = async {
        commit(&from, first()?).await?;
        meter.ready().await;
        publish(&from, &meter, load).await?;
        meter.measured().await
    };
    beside(work, services).await
}

async fn write(tx: &mut Transaction, event: Changed) -> Result<(), BoxError> {
    tx.execute(WRITE, params![event.account, event.amount])
        .await?;
    Ok(())
}

async fn publish(db: &Database, meter: &Meter, load: Load) -> Result<()> {
    if !load.is_steady() {
        let next = Arc::new(AtomicUsize::new(0));
        let writers = (0..WRITERS).map(|_| {
            let (db, meter, next) = (db.clone(), meter.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= load.count {
                        return Ok::<_, crate::Error>(());
                    }
                    meter.sent(number);
                    commit(&db, event(number)?).await?;
                }
            })
        });
        for ended in future::join_all(writers).await {
            ended??;
        }
        return Ok(());
    }
    let start = env::instant();
    let commits = (0..load.count).map(|number| async move {
        load.due(start, number).await;
        meter.sent(number);
        commit(db, event(number)?).await
    });
    future::try_join_all(commits).await.map(|_| ())
}

async fn commit(db: &Database, event: CloudEvent) -> Result<()> {
    let mut tx = db.begin().await?;
    tx.execute(WRITE, params![event.key(), 1250]).await?;
    tx.publish_raw(event)?;
    Ok(tx.commit().await?)
}
