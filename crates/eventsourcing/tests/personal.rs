//! What is personal is encrypted where it lies, and gone when the person is forgotten; the events are not.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use std::{sync::Arc, time::Duration};

use bank::Bank;
use data::params;
use outrigger_eventsourcing::{
    Aggregate, Append, Error, Expected, Loaded, Personal, Snapshots, Version,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinHandle;

on_each_engine!(
    what_is_personal_is_encrypted_and_read_in_the_clear,
    who_is_forgotten_is_gone_from_every_copy_and_the_events_stay,
    who_comes_back_has_a_new_key,
    what_was_sealed_for_one_person_is_not_read_as_anothers,
    what_only_looks_personal_is_left_alone,
    a_type_named_like_the_stores_own_is_refused,
    nothing_that_comes_before_a_forgetting_is_readable_if_that_begins_first,
    nothing_that_comes_before_a_forgetting_is_readable_if_that_ends_last,
    no_copy_in_a_snapshot_outlives_a_forgetting_that_begins_first,
    no_copy_in_a_snapshot_outlives_a_forgetting_that_ends_last,
);

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Member {
    name: Option<Personal<String>>,
    visits: u32,
    note: serde_json::Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum MemberEvent {
    Joined {
        names: Vec<Personal<String>>,
    },
    Visited,
    Noted(serde_json::Value),
    #[serde(rename = "$own")]
    Own,
}

impl Aggregate for Member {
    const KIND: &'static str = "member";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(2));
    type Event = MemberEvent;

    fn apply(&mut self, event: &MemberEvent) {
        match event {
            MemberEvent::Joined { names } => self.name = names.last().cloned(),
            MemberEvent::Visited | MemberEvent::Own => self.visits += 1,
            MemberEvent::Noted(note) => self.note = note.clone(),
        }
    }
}

async fn append(bank: &Bank, id: &str, events: &[MemberEvent]) -> Result<Version, Error> {
    bank.db
        .transaction(async |mut tx| tx.append::<Member>(id, Expected::Any, events).await)
        .await
}

async fn join(bank: &Bank, id: &str, name: &str) {
    let names = vec![
        Personal::of(id, "nickname".to_owned()),
        Personal::of(id, name.to_owned()),
    ];
    append(
        bank,
        id,
        &[MemberEvent::Joined { names }, MemberEvent::Visited],
    )
    .await
    .expect("appended");
}

async fn load(bank: &Bank, id: &str) -> Loaded<Member> {
    bank.db
        .transaction(async |mut tx| tx.load::<Member>(id).await)
        .await
        .expect("loaded")
}

async fn name(bank: &Bank, id: &str) -> Option<String> {
    let name = load(bank, id).await.state.name.expect("joined");
    assert_eq!(name.subject(), id);
    name.get().cloned()
}

async fn forget(bank: &Bank, subject: &str) {
    bank.db
        .transaction(async |mut tx| tx.forget(subject).await)
        .await
        .expect("forgotten");
}

/// All that is stored, as whoever steals the disk sees it, but for the keys.
async fn stored(bank: &Bank) -> String {
    let mut stored = String::new();
    for sql in [
        "SELECT coalesce(data, '') FROM outrigger_events",
        "SELECT state FROM outrigger_snapshots",
    ] {
        for row in bank.db.query(sql, params![]).await.expect("read") {
            stored.push_str(&row.get::<String>(0).expect("read"));
        }
    }
    stored
}

async fn what_is_personal_is_encrypted_and_read_in_the_clear(bank: Bank) {
    join(&bank, "7", "Ada").await;
    assert_eq!(name(&bank, "7").await.as_deref(), Some("Ada"));
    // Now from the snapshot.
    assert_eq!(name(&bank, "7").await.as_deref(), Some("Ada"));
    let stored = stored(&bank).await;
    assert!(
        stored.contains("visits") && stored.contains("sealed"),
        "{stored}"
    );
    assert!(
        !stored.contains("Ada") && !stored.contains("nickname"),
        "{stored}"
    );
    let all = bank.all(2).await;
    assert!(all[0].data.as_deref().unwrap().contains("Ada"));
}

async fn who_is_forgotten_is_gone_from_every_copy_and_the_events_stay(bank: Bank) {
    join(&bank, "7", "Ada").await;
    join(&bank, "8", "Bea").await;
    append(&bank, "7", &[MemberEvent::Visited]).await.unwrap();
    load(&bank, "7").await; // writes a snapshot
    let before = bank.all(5).await;
    forget(&bank, "7").await;

    assert_eq!(name(&bank, "7").await, None);
    let seven = load(&bank, "7").await;
    assert_eq!((seven.version, seven.state.visits), (3, 2));
    assert_eq!(name(&bank, "8").await.as_deref(), Some("Bea"));
    let after = bank.all(6).await;
    assert!(
        after
            .iter()
            .take(5)
            .map(|event| event.position)
            .eq(before.iter().map(|event| event.position))
    );
    let told: Vec<_> = after.iter().filter_map(|event| event.forgotten()).collect();
    assert_eq!(told, ["7"]);
    assert!(after[5].read::<Member>().unwrap().is_none());
    forget(&bank, "7").await;
    forget(&bank, "nobody").await;
}

async fn who_comes_back_has_a_new_key(bank: Bank) {
    join(&bank, "7", "Ada").await;
    forget(&bank, "7").await;
    append(&bank, "7", &[MemberEvent::Visited]).await.unwrap();
    assert_eq!(name(&bank, "7").await, None);
    join(&bank, "7", "Ada again").await;
    assert_eq!(name(&bank, "7").await.as_deref(), Some("Ada again"));
    let first = &bank.all(6).await[0];
    assert!(!first.data.as_deref().unwrap().contains("Ada"));
}

async fn what_was_sealed_for_one_person_is_not_read_as_anothers(bank: Bank) {
    join(&bank, "7", "Ada").await;
    join(&bank, "8", "Bea").await;
    // Somebody makes the key of 7 that of 8.
    bank.db
        .transaction(async |mut tx| {
            let swap = "UPDATE outrigger_personal_keys SET subject = '8' WHERE subject = '7'";
            tx.execute(swap, params![]).await
        })
        .await
        .unwrap();
    assert_eq!(name(&bank, "7").await, None);
}

async fn what_only_looks_personal_is_left_alone(bank: Bank) {
    for note in [
        json!("$personal"),
        json!({ "$personal": 5 }),
        json!({ "$personal": { "subject": 5 } }),
        json!({ "$personal": null, "deep": [{ "text": "say \"$personal\"" }] }),
    ] {
        append(&bank, "1", &[MemberEvent::Noted(note.clone())])
            .await
            .unwrap();
        assert_eq!(load(&bank, "1").await.state.note, note);
    }
    // Of a key that there is not: as if forgotten, and no error.
    let unknown = json!({ "$personal": { "subject": "7", "key": "none", "sealed": "AAAA" } });
    append(&bank, "1", &[MemberEvent::Noted(unknown)])
        .await
        .unwrap();
    let read = json!({ "$personal": { "subject": "7", "value": null } });
    assert_eq!(load(&bank, "1").await.state.note, read);
}

async fn a_type_named_like_the_stores_own_is_refused(bank: Bank) {
    let refused = append(&bank, "1", &[MemberEvent::Own]).await;
    assert!(matches!(refused, Err(Error::ReservedType { name, .. }) if name == "$own"));
}

/// Keeps a copy of a name in the clear.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Greeter {
    greeting: String,
}

impl Aggregate for Greeter {
    const KIND: &'static str = "member";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(1));
    type Event = MemberEvent;

    fn apply(&mut self, event: &MemberEvent) {
        if let MemberEvent::Joined { names } = event {
            let name = names.last().and_then(Personal::get);
            self.greeting = name.map_or_else(String::new, |name| format!("Hello {name}"));
        }
    }
}

/// Begins to forget "7". Returns when that has ended or waits for the transaction that is open.
async fn begin_to_forget(bank: &Arc<Bank>) -> JoinHandle<()> {
    let forgetting = tokio::spawn({
        let bank = Arc::clone(bank);
        async move { forget(&bank, "7").await }
    });
    let waits = async {
        // On SQLite it waits for the writer, until the transaction has ended.
        while bank.is_postgres() && !forgetting.is_finished() {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let row = bank.db.query_one(waiting, params![]).await.unwrap();
            if row.unwrap().get::<u32>(0).unwrap() > 0 {
                return;
            }
            env::sleep(Duration::from_millis(2)).await;
        }
    };
    let waits = env::timeout(Duration::from_secs(30), waits).await;
    waits.expect("it neither ends nor waits");
    forgetting
}

/// What was stored before "7" was forgotten says nothing of "7" any more.
async fn nothing_before_is_readable(bank: &Bank, events: usize) {
    let all = bank.all(events).await;
    let before = all.iter().take_while(|event| event.forgotten().is_none());
    let data = before.filter_map(|event| event.data.as_deref());
    let named: Vec<_> = data.filter(|data| data.contains("Ada")).collect();
    assert!(named.is_empty(), "{named:?}");
}

fn joined() -> [MemberEvent; 1] {
    let names = vec![Personal::of("7", "Ada".to_owned())];
    [MemberEvent::Joined { names }]
}

async fn nothing_that_comes_before_a_forgetting_is_readable_if_that_begins_first(bank: Bank) {
    let bank = Arc::new(bank);
    let mut tx = bank.db.begin().await.unwrap();
    // Now it has its place in the order, and knows of nothing that comes later.
    tx.append::<Member>("8", Expected::Any, &[MemberEvent::Visited])
        .await
        .unwrap();
    let forgetting = begin_to_forget(&bank).await;
    let appended = tx.append::<Member>("7", Expected::Any, &joined()).await;
    let committed = match appended {
        Ok(_) => tx.commit().await.map_err(Error::from),
        Err(error) => Err(error),
    };
    if let Err(error) = committed {
        assert!(error.is_retryable(), "{error:?}");
        append(&bank, "7", &joined()).await.unwrap();
    }
    forgetting.await.unwrap();
    nothing_before_is_readable(&bank, 2).await;
}

async fn nothing_that_comes_before_a_forgetting_is_readable_if_that_ends_last(bank: Bank) {
    let bank = Arc::new(bank);
    let mut tx = bank.db.begin().await.unwrap();
    tx.append::<Member>("7", Expected::Any, &joined())
        .await
        .unwrap();
    let forgetting = begin_to_forget(&bank).await;
    tx.commit().await.unwrap();
    forgetting.await.unwrap();
    nothing_before_is_readable(&bank, 2).await;
}

async fn no_copy_in_a_snapshot_outlives_a_forgetting_that_begins_first(bank: Bank) {
    append(&bank, "7", &joined()).await.unwrap();
    let bank = Arc::new(bank);
    let mut tx = bank.db.begin().await.unwrap();
    tx.load::<Member>("8").await.unwrap(); // now it sees the database as it is before
    let forgetting = begin_to_forget(&bank).await;
    match tx.load::<Greeter>("7").await {
        Ok(_) => tx.commit().await.unwrap(),
        Err(error) => {
            assert!(error.is_retryable(), "{error:?}");
            drop(tx);
        }
    }
    forgetting.await.unwrap();
    let stored = stored(&bank).await;
    assert!(!stored.contains("Ada"), "{stored}");
}

async fn no_copy_in_a_snapshot_outlives_a_forgetting_that_ends_last(bank: Bank) {
    append(&bank, "7", &joined()).await.unwrap();
    let bank = Arc::new(bank);
    let mut tx = bank.db.begin().await.unwrap();
    let greeter = tx.load::<Greeter>("7").await.unwrap();
    assert_eq!(greeter.state.greeting, "Hello Ada");
    let forgetting = begin_to_forget(&bank).await;
    tx.commit().await.unwrap();
    forgetting.await.unwrap();
    let stored = stored(&bank).await;
    assert!(!stored.contains("Ada"), "{stored}");
}
