//! Transactions that are ready together are committed together, and none of them waits for what
//! does not come.
//!
//! Time stands still while a task can run, so no group closes here because the machine is slow.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use std::{
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use fixture::{Fixture, entries, insert, settle};
use outrigger_data as data;
use tokio::{sync::oneshot, task::JoinHandle};

use data::{Database, Error, QUEUE_LIMIT, Result, Transaction, params};

/// A task that begins, inserts `id`, says so, and commits when it is told to, or is dropped when
/// the teller is.
fn writer(db: &Database, id: i64) -> (oneshot::Sender<()>, JoinHandle<Result<()>>) {
    let db = db.clone();
    let (go, told) = oneshot::channel();
    let task = tokio::spawn(async move {
        let mut tx = db.begin().await?;
        insert(&mut tx, id).await?;
        match told.await {
            Ok(()) => tx.commit().await,
            Err(_) => Ok(()), // rolled back by its drop
        }
    });
    (go, task)
}

#[tokio::test(start_paused = true)]
async fn transactions_that_queue_are_acknowledged_together() {
    let Fixture {
        db,
        folder: _folder,
        ..
    } = Fixture::new().await;
    let mut first = db.begin().await.unwrap();
    insert(&mut first, 1).await.unwrap();
    let (second_goes, second) = writer(&db, 2);
    settle().await;

    let first = tokio::spawn(first.commit());
    settle().await;
    assert!(
        !first.is_finished(),
        "the second has joined, so the first waits for it"
    );
    assert!(entries(&db).await.is_empty(), "not durable, so not seen");

    second_goes.send(()).unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(entries(&db).await, [1, 2], "one commit for both");
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hundred_transactions_that_are_ready_together_cost_one_commit() {
    let fixture = Fixture::new().await;
    let before = commits(&fixture);
    let tasks: Vec<_> = (0..100)
        .map(|id| {
            let db = fixture.db.clone();
            tokio::spawn(async move {
                let mut tx = db.begin().await.unwrap();
                insert(&mut tx, id).await.unwrap();
                tx.commit().await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(entries(&fixture.db).await.len(), 100);
    let commits = commits(&fixture) - before;
    assert_eq!(commits, 1);
}

#[tokio::test(start_paused = true)]
async fn writers_that_go_on_writing_keep_sharing_commits() {
    let fixture = Fixture::new().await;
    let before = commits(&fixture);
    let tasks: Vec<_> = (0..50)
        .map(|task| {
            let db = fixture.db.clone();
            tokio::spawn(async move {
                for round in 0..20 {
                    let mut tx = db.begin().await.unwrap();
                    insert(&mut tx, task * 100 + round).await.unwrap();
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(entries(&fixture.db).await.len(), 1000);
    let commits = commits(&fixture) - before;
    assert!(
        (20..=40).contains(&commits),
        "{commits} commits for 1000 transactions"
    );
}

/// How many commits the log holds: a frame that ends one says how long the file is then
/// (sqlite.org/fileformat2.html).
fn commits(fixture: &Fixture) -> usize {
    let log = std::fs::read(fixture.folder.path().join("test.sqlite-wal")).unwrap();
    let frames = log.get(32..).unwrap_or_default().chunks_exact(24 + 4096);
    frames.filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test(start_paused = true)]
async fn a_member_that_fails_rolls_back_alone() {
    let Fixture {
        db,
        folder: _folder,
        ..
    } = Fixture::new().await;
    let mut first = db.begin().await.unwrap();
    insert(&mut first, 1).await.unwrap();
    let (second_drops, second) = writer(&db, 2);
    let (third_fails, third) = writer(&db, 1);
    settle().await;
    let first = tokio::spawn(first.commit());
    settle().await;
    assert!(!first.is_finished());

    drop(second_drops);
    second.await.unwrap().unwrap();
    assert!(
        third.await.unwrap().unwrap_err().is_unique_violation(),
        "the first one's row is seen"
    );
    drop(third_fails);

    // The last one that the group was open for has dropped its transaction: that commits the
    // others.
    first.await.unwrap().unwrap();
    assert_eq!(entries(&db).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_cancelled_commits_the_group_that_was_open_for_it() {
    let Fixture {
        db,
        folder: _folder,
        ..
    } = Fixture::new().await;
    let mut first = db.begin().await.unwrap();
    insert(&mut first, 1).await.unwrap();
    let mut waiting = Box::pin(db.begin());
    assert!(futures::poll!(&mut waiting).is_pending());

    let mut first = Box::pin(first.commit());
    for _ in 0..10 {
        assert!(
            futures::poll!(&mut first).is_pending(),
            "in the care of the one who waits"
        );
    }
    drop(waiting);
    assert_eq!(
        entries(&db).await,
        [1],
        "committed by the cancelled wait itself"
    );
    first.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_cancelled_commits_nevertheless() {
    let Fixture {
        db,
        folder: _folder,
        ..
    } = Fixture::new().await;
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, 1).await.unwrap();
    {
        let commit = pin!(tx.commit());
        assert!(
            commit
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        assert!(entries(&db).await.is_empty());
    }
    assert_eq!(entries(&db).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_never_polled_again_does_not_hold_up_a_commit() {
    let Fixture {
        db,
        folder: _folder,
        ..
    } = Fixture::new().await;
    let mut first = db.begin().await.unwrap();
    insert(&mut first, 1).await.unwrap();
    let mut asleep = Box::pin(db.begin());
    assert!(futures::poll!(&mut asleep).is_pending());

    env::timeout(Duration::from_secs(1), first.commit())
        .await
        .expect("acknowledged")
        .unwrap();
    let mut second = asleep.await.unwrap(); // and its place was kept
    insert(&mut second, 2).await.unwrap();
    second.commit().await.unwrap();
    assert_eq!(entries(&db).await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn when_the_engine_rolls_the_group_back_every_member_hears_of_it() {
    let Fixture {
        db,
        folder: _folder,
        ..
    } = Fixture::new().await;
    let mut first = db.begin().await.unwrap();
    insert(&mut first, 1).await.unwrap();
    let breaker = tokio::spawn({
        let db = db.clone();
        async move {
            let mut tx = db.begin().await?;
            let outcome = tx
                .execute("INSERT OR ROLLBACK INTO entry VALUES (1, 'x')", params![])
                .await;
            assert!(matches!(
                tx.execute("SELECT 1", params![]).await,
                Err(Error::Aborted)
            ));
            tx.rollback().await?;
            outcome
        }
    });
    settle().await;
    let error = first.commit().await.unwrap_err();
    assert!(
        format!("{error:?}").contains("UNIQUE constraint failed"),
        "it says why: {error:?}"
    );
    assert!(
        matches!(error, Error::NotCommitted { .. }) && error.is_retryable(),
        "{error:?}"
    );
    assert!(breaker.await.unwrap().unwrap_err().is_unique_violation());
    assert!(entries(&db).await.is_empty());

    let mut next = db.begin().await.unwrap();
    insert(&mut next, 1).await.unwrap();
    next.commit().await.unwrap();
    assert_eq!(entries(&db).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn rollback_returns_when_what_it_read_is_durable() {
    let Fixture {
        db,
        folder: _folder,
        ..
    } = Fixture::new().await;
    let mut first = db.begin().await.unwrap();
    insert(&mut first, 1).await.unwrap();
    let mut second = Box::pin(db.begin());
    assert!(futures::poll!(&mut second).is_pending());
    let (third_goes, third) = writer(&db, 3);
    settle().await;

    let first = tokio::spawn(first.commit());
    let mut second = second.await.unwrap();
    assert_eq!(
        second
            .query("SELECT id FROM entry", params![])
            .await
            .unwrap()
            .len(),
        1
    );
    let second = tokio::spawn(second.rollback());
    settle().await;
    assert!(
        !second.is_finished(),
        "the group is open for the third: what was read may still be lost"
    );

    third_goes.send(()).unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(entries(&db).await, [1, 3]);
    first.await.unwrap().unwrap();
    third.await.unwrap().unwrap();
}

#[test]
fn waiters_may_live_on_other_runtimes_of_the_same_thread() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (one, two) = (runtime(), runtime());
    let Fixture {
        db,
        folder: _folder,
        ..
    } = one.block_on(Fixture::new());
    let mut first = one.block_on(db.begin()).unwrap();
    one.block_on(insert(&mut first, 1)).unwrap();
    let (second_goes, second) = two.block_on(async { writer(&db, 2) });
    two.block_on(settle());

    let first = one.spawn(first.commit());
    one.block_on(settle());
    second_goes.send(()).unwrap();
    two.block_on(second).unwrap().unwrap();
    one.block_on(first).unwrap().unwrap();
    assert_eq!(one.block_on(entries(&db)), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_refuses_at_once() {
    let Fixture {
        db,
        folder: _folder,
        ..
    } = Fixture::new().await;
    let held = db.begin().await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..QUEUE_LIMIT {
        let mut begin = Box::pin(db.begin());
        assert!(futures::poll!(&mut begin).is_pending());
        waiting.push(begin);
    }
    let error = db.begin().await.map(drop::<Transaction>).unwrap_err();
    assert!(
        matches!(error, Error::Overloaded { .. }) && error.is_retryable(),
        "{error:?}"
    );
    drop(held);
    waiting.clear();
    db.begin().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_writer_is_given_in_the_order_of_asking() {
    let Fixture {
        db,
        folder: _folder,
        ..
    } = Fixture::new().await;
    let held = db.begin().await.unwrap();
    let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(db.begin())).collect();
    for begin in &mut waiting {
        assert!(futures::poll!(begin).is_pending());
    }
    drop(held);
    for begin in waiting.iter_mut().skip(1) {
        assert!(
            futures::poll!(begin).is_pending(),
            "it is the first one's turn"
        );
    }
    assert!(
        futures::poll!(Box::pin(db.begin())).is_pending(),
        "nor can a newcomer pass"
    );
    for begin in waiting {
        begin.await.unwrap();
    }
}
