//! Appends by Outrigger: each writer has a stream of its own, and expects the version that it left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use data::Database;
use env::RequestContext;
use eventsourcing::{Append, Expected, Store};

use crate::{
    Result,
    account::{Account, change},
};

/// What a writer asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The append alone.
    Alone,
    /// An append in a transaction of the writer's own, in which it could write more.
    InTransaction,
}

/// Appends a second.
pub async fn appends(url: &str, how: How, writers: usize, time: Duration) -> Result<f64> {
    let db = Database::open(url).await?;
    eventsourcing::install(&db).await?;
    let store = Store::new(db.clone());
    let done = Arc::new(AtomicU64::new(0));
    let started = env::instant();
    let work = (0..writers).map(|writer| {
        let (db, store, done) = (db.clone(), store.clone(), Arc::clone(&done));
        // As a handler's, which has the context of its request.
        tokio::spawn(RequestContext::new().scope(async move {
            let id = format!("account-{writer}");
            let mut version = 0;
            while env::instant() - started < time {
                let expected = Expected::Version(version);
                let events = [change(&id)];
                version = match how {
                    How::Alone => store.append::<Account>(&id, expected, &events).await?,
                    How::InTransaction => {
                        let mut tx = db.begin().await?;
                        let version = tx.append::<Account>(&id, expected, &events).await?;
                        tx.commit().await?;
                        version
                    }
                };
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, crate::Error>(())
        }))
    });
    for writer in futures::future::join_all(work).await {
        writer??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / (env::instant() - started).as_secs_f64())
}
