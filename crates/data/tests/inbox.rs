//! A message has its effects once a group.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use std::time::Duration;

use fixture::{Fixture, entries, insert};

#[tokio::test]
async fn g3_once_a_message_delivered_many_times_at_once_takes_effect_once_a_group() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    let deliveries = (0..20).map(|number| {
        let db = db.clone();
        tokio::spawn(async move {
            let group = if number % 2 == 0 { "even" } else { "odd" };
            let mut tx = db.begin().await.unwrap();
            let first = tx.receive(group, "message").await.unwrap();
            if first {
                insert(&mut tx, number).await.unwrap();
            }
            tx.commit().await.unwrap();
            first
        })
    });
    let mut firsts = 0;
    for delivery in deliveries.collect::<Vec<_>>() {
        firsts += u32::from(delivery.await.unwrap());
    }
    assert_eq!(firsts, 2);
    assert_eq!(entries(&db).await, [0, 1]);
}

#[tokio::test]
async fn g3_once_a_message_whose_handler_failed_is_handled_again() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    let mut failed = db.begin().await.unwrap();
    assert!(failed.receive("group", "message").await.unwrap());
    drop(failed);
    let mut again = db.begin().await.unwrap();
    assert!(again.receive("group", "message").await.unwrap());
}

#[tokio::test]
async fn pruning_forgets_what_is_old_in_small_transactions() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    let mut tx = db.begin().await.unwrap();
    for id in 0..2500 {
        tx.receive("group", &id.to_string()).await.unwrap();
    }
    tx.commit().await.unwrap();

    let hour = Duration::from_secs(3600);
    assert_eq!(db.prune_inbox(env::now() - hour).await.unwrap(), 0);
    assert_eq!(db.prune_inbox(env::now() + hour).await.unwrap(), 2500);
    assert!(
        db.begin()
            .await
            .unwrap()
            .receive("group", "7")
            .await
            .unwrap()
    );
}
