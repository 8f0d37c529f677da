//! A message has its effects once a group.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use std::time::Duration;

use fixture::{Fixture, entries, insert};
use outrigger_data as data;

on_each_engine!(
    g3_once_a_message_delivered_many_times_at_once_takes_effect_once_a_group,
    g3_once_a_message_whose_handler_failed_is_handled_again,
    pruning_forgets_what_is_old_in_small_transactions,
);

async fn g3_once_a_message_delivered_many_times_at_once_takes_effect_once_a_group(
    fixture: Fixture,
) {
    let db = fixture.db.clone();
    let deliveries = (0..20).map(|number| {
        let db = db.clone();
        tokio::spawn(async move {
            let group = if number % 2 == 0 { "even" } else { "odd" };
            db.transaction(async |mut tx| {
                let first = tx.receive(group, "message").await?;
                if first {
                    insert(&mut tx, number).await?;
                }
                Ok::<_, data::Error>(first)
            })
            .await
            .unwrap()
        })
    });
    let mut firsts = 0;
    for delivery in deliveries.collect::<Vec<_>>() {
        firsts += u32::from(delivery.await.unwrap());
    }
    assert_eq!(firsts, 2);
    let entries = entries(&db).await;
    let odd = entries.iter().filter(|number| *number % 2 == 1).count();
    assert_eq!((entries.len(), odd), (2, 1), "{entries:?}");
}

async fn g3_once_a_message_whose_handler_failed_is_handled_again(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut failed = db.begin().await.unwrap();
    assert!(failed.receive("group", "message").await.unwrap());
    drop(failed);
    let mut again = db.begin().await.unwrap();
    assert!(again.receive("group", "message").await.unwrap());
}

async fn pruning_forgets_what_is_old_in_small_transactions(fixture: Fixture) {
    let db = fixture.db.clone();
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
