//! What is personal is encrypted where it lies, and gone when the person is forgotten; the events are not.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use bank::Bank;
use data::params;
use outrigger_eventsourcing::{
    Aggregate, Append, Error, Expected, Loaded, Personal, Snapshots, Version,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

on_each_engine!(
    what_is_personal_is_encrypted_and_read_in_the_clear,
    who_is_forgotten_is_gone_from_every_copy_and_the_events_stay,
    who_comes_back_has_a_new_key,
    what_was_sealed_for_one_person_is_not_read_as_anothers,
    what_only_looks_personal_is_left_alone,
    a_type_named_like_the_stores_own_is_refused,
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
