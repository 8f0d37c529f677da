//! The outbox keeps the order of commits and wakes its relay.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use fixture::{Fixture, message, outbox_ids};

on_each_engine!(
    messages_come_in_the_order_of_commits_and_leave_when_deleted,
    a_sequence_is_never_given_twice,
    a_relay_that_drains_and_waits_gets_every_message,
);

async fn messages_come_in_the_order_of_commits_and_leave_when_deleted(fixture: Fixture) {
    let db = fixture.db.clone();
    for transaction in 0..3 {
        let mut tx = db.begin().await.unwrap();
        for part in 0..2 {
            tx.enqueue(message(format!("{transaction}.{part}")));
        }
        tx.commit().await.unwrap();
    }
    assert_eq!(
        outbox_ids(&db).await,
        ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]
    );
    assert_eq!(db.outbox_backlog().await.unwrap(), 6);

    let first = db.outbox_batch(4).await.unwrap();
    assert_eq!(first[3].1, message("1.1"));
    let sequences: Vec<i64> = first.iter().map(|(sequence, _)| *sequence).collect();
    db.outbox_delete(&sequences).await.unwrap();
    assert_eq!(outbox_ids(&db).await, ["2.0", "2.1"]);
}

async fn a_sequence_is_never_given_twice(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut last = 0;
    for id in 0..3 {
        let mut tx = db.begin().await.unwrap();
        tx.enqueue(message(id));
        tx.commit().await.unwrap();
        let sequence = db.outbox_batch(1).await.unwrap()[0].0;
        assert!(sequence > last);
        last = sequence;
        db.outbox_delete(&[sequence]).await.unwrap();
    }
}

async fn a_relay_that_drains_and_waits_gets_every_message(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut changes = db.outbox_changed();
    let writer = tokio::spawn({
        let db = db.clone();
        async move {
            for id in 0..200 {
                let mut tx = db.begin().await.unwrap();
                tx.enqueue(message(id));
                tx.commit().await.unwrap();
            }
        }
    });
    let mut received = Vec::new();
    while received.len() < 200 {
        let batch = db.outbox_batch(7).await.unwrap();
        if batch.is_empty() {
            changes.wait().await;
            continue;
        }
        let (sequences, messages): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        received.extend(messages.into_iter().map(|message| message.id));
        db.outbox_delete(&sequences).await.unwrap();
    }
    writer.await.unwrap();
    assert_eq!(
        received,
        (0..200).map(|id| id.to_string()).collect::<Vec<_>>()
    );
}
