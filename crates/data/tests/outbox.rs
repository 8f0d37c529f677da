//! The outbox keeps the order of commits, wakes its relay, and keeps what was sent.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use std::time::Duration;

use data::{Database, outbox::Status, params};
use env::Timestamp;
use fixture::{Fixture, message, outbox_ids};
use outrigger_data as data;

on_each_engine!(
    messages_come_in_the_order_of_commits_and_leave_when_sent,
    what_was_claimed_comes_again_in_that_order,
    a_message_that_becomes_visible_late_is_not_overlooked,
    a_relay_that_drains_and_waits_gets_every_message,
    what_was_sent_can_be_sent_again_until_it_is_pruned,
    what_is_refused_stops_nothing_and_stays_until_it_is_replayed_or_dropped,
);

async fn enqueue(db: &Database, ids: &[&str]) {
    let mut tx = db.begin().await.unwrap();
    for id in ids {
        tx.enqueue(message(id));
    }
    tx.commit().await.unwrap();
}

/// Settles up to `limit` messages that wait; their ids.
async fn send(db: &Database, limit: u32) -> Vec<String> {
    let batch = db.outbox_waiting(limit).await.unwrap();
    let places: Vec<_> = batch.iter().map(|it| it.sequence).collect();
    let mut tx = db.begin().await.unwrap();
    tx.outbox_sent(&places);
    tx.commit().await.unwrap();
    batch.into_iter().map(|it| it.message.id).collect()
}

async fn prune(db: &Database, before: Timestamp) -> u64 {
    db.outbox_prune(before).await.unwrap()
}

fn soon() -> Timestamp {
    env::now() + Duration::from_secs(1)
}

fn long_ago() -> Timestamp {
    env::now() - Duration::from_secs(60)
}

async fn messages_come_in_the_order_of_commits_and_leave_when_sent(fixture: Fixture) {
    let db = &fixture.db;
    enqueue(db, &["0.0", "0.1"]).await;
    enqueue(db, &["1.0", "1.1"]).await;
    enqueue(db, &["2.0", "2.1"]).await;
    assert_eq!(
        outbox_ids(db).await,
        ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]
    );
    assert_eq!(db.outbox_backlog().await.unwrap(), 6);
    assert_eq!(
        db.outbox_waiting(4).await.unwrap()[3].message,
        message("1.1")
    );
    assert_eq!(send(db, 4).await, ["0.0", "0.1", "1.0", "1.1"]);
    assert_eq!(outbox_ids(db).await, ["2.0", "2.1"]);
    let status = db.outbox_status().await.unwrap();
    assert_eq!(status.unsent, 2);
    assert!(status.oldest.unwrap() > long_ago());
}

async fn what_was_claimed_comes_again_in_that_order(fixture: Fixture) {
    let db = &fixture.db;
    enqueue(db, &["a", "b", "c"]).await;
    let all = db.outbox_waiting(10).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.outbox_claim(1, &[(all[2].sequence, Some(7))]);
    tx.outbox_claim(2, &[(all[0].sequence, None)]);
    tx.commit().await.unwrap();
    assert_eq!(outbox_ids(db).await, ["b"]);
    let claimed = db.outbox_claimed(10).await.unwrap();
    let claimed: Vec<_> = claimed
        .iter()
        .map(|it| (it.message.id.as_str(), it.number))
        .collect();
    assert_eq!(claimed, [("c", Some(7)), ("a", None)]);
    assert_eq!(db.outbox_backlog().await.unwrap(), 3);
}

/// On PostgreSQL a transaction can commit after one that got its numbers later.
async fn a_message_that_becomes_visible_late_is_not_overlooked(fixture: Fixture) {
    let db = &fixture.db;
    if db.engine() == data::Engine::Sqlite {
        return; // there is one writer
    }
    let mut slow = db.begin().await.unwrap();
    let insert =
        "INSERT INTO outrigger_outbox (id, topic, key, payload) VALUES ('slow', 't', 'k', '')";
    slow.execute(insert, params![]).await.unwrap();
    enqueue(db, &["quick"]).await;
    assert_eq!(send(db, 10).await, ["quick"]);
    slow.commit().await.unwrap();
    assert_eq!(send(db, 10).await, ["slow"]);
}

async fn a_relay_that_drains_and_waits_gets_every_message(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut changes = db.outbox_changed();
    let writer = tokio::spawn({
        let db = db.clone();
        async move {
            for id in 0..200 {
                enqueue(&db, &[&id.to_string()]).await;
            }
        }
    });
    let mut received = Vec::new();
    while received.len() < 200 {
        let batch = send(&db, 7).await;
        if batch.is_empty() {
            changes.wait().await;
        }
        received.extend(batch);
    }
    writer.await.unwrap();
    assert_eq!(
        received,
        (0..200).map(|id| id.to_string()).collect::<Vec<_>>()
    );
}

async fn what_was_sent_can_be_sent_again_until_it_is_pruned(fixture: Fixture) {
    let db = &fixture.db;
    enqueue(db, &["a", "b"]).await;
    send(db, 10).await;
    assert_eq!(db.outbox_replay(soon()).await.unwrap(), 0);
    let mut changes = db.outbox_changed();
    assert_eq!(db.outbox_replay(long_ago()).await.unwrap(), 2);
    changes.wait().await;
    assert_eq!(send(db, 10).await, ["a", "b"]);

    enqueue(db, &["unsent"]).await;
    assert_eq!(prune(db, long_ago()).await, 0);
    assert_eq!(prune(db, soon()).await, 2);
    assert_eq!(db.outbox_replay(long_ago()).await.unwrap(), 0);
    assert_eq!(outbox_ids(db).await, ["unsent"]);
}

async fn what_is_refused_stops_nothing_and_stays_until_it_is_replayed_or_dropped(fixture: Fixture) {
    let db = &fixture.db;
    enqueue(db, &["bad", "worse", "good"]).await;
    let all = db.outbox_waiting(10).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.outbox_refuse(all[0].sequence, "no event");
    tx.outbox_refuse(all[1].sequence, "no event");
    tx.commit().await.unwrap();
    assert_eq!(send(db, 10).await, ["good"]);
    assert_eq!(prune(db, soon()).await, 1);
    let refused = db.outbox_refused(10).await.unwrap();
    assert_eq!(refused[0].message, message("bad"));
    assert_eq!(refused[0].error, "no event");
    let Status {
        unsent, refused, ..
    } = db.outbox_status().await.unwrap();
    assert_eq!((unsent, refused), (0, 2));

    assert!(db.outbox_drop("worse").await.unwrap());
    assert!(!db.outbox_drop("worse").await.unwrap());
    assert_eq!(db.outbox_replay(long_ago()).await.unwrap(), 1);
    assert_eq!(outbox_ids(db).await, ["bad"]);
    assert!(!db.outbox_drop("bad").await.unwrap(), "it waits to be sent");
}

/// What was sent is kept for a while, and costs those nothing who send more.
#[tokio::test]
async fn what_was_sent_is_not_read_again_by_postgresql() {
    const MESSAGES: i64 = 200;
    let fixture = Fixture::on_postgres().await;
    let db = &fixture.db;
    for number in 0..MESSAGES {
        enqueue(db, &[&number.to_string()]).await;
        let place = db.outbox_waiting(10).await.unwrap()[0].sequence;
        let mut tx = db.begin().await.unwrap();
        tx.outbox_claim(number, &[(place, Some(1))]);
        tx.commit().await.unwrap();
        assert_eq!(send(db, 10).await, Vec::<String>::new());
        let mut tx = db.begin().await.unwrap();
        tx.outbox_sent(&[place]);
        tx.commit().await.unwrap();
    }
    // The server tells what it has counted a moment later.
    let ask = "SELECT n_tup_upd, seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'outrigger_outbox'";
    let counted = async || loop {
        let row = db.query_one(ask, params![]).await.unwrap().unwrap();
        if row.get::<i64>(0).unwrap() == 2 * MESSAGES {
            return row.get::<i64>(1).unwrap();
        }
        env::sleep(Duration::from_millis(50)).await;
    };
    let read = env::timeout(Duration::from_secs(60), counted());
    let read = read.await.unwrap() / MESSAGES;
    assert!(read < 10, "{read} rows were read for each message");
}
