//! Keys of signals: any text but one with a NUL in it, which PostgreSQL cannot store. It is named where it comes from, on
//! SQLite too, and not by the database in the middle of something else.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::time::Duration;

use outrigger_saga as saga;
use proptest::prelude::*;
use saga::{Error, Failure, Input, Outcome, Saga, State};
use serde::{Deserialize, Serialize};
use support::{Process, Rung, simulated};
use tempfile::tempdir;

#[derive(Serialize, Deserialize)]
struct Wait(String);

impl Input for Wait {
    const SAGA: &'static str = "wait";
}

async fn wait(saga: Saga, Wait(key): Wait) -> Result<(), Failure> {
    saga.wait_for::<Rung>().keyed(key).await.map(drop)
}

fn key() -> impl Strategy<Value = String> {
    let letters = prop::sample::select(vec!['a', 'é', ' ', '\u{1}', '\0']);
    prop::collection::vec(letters, 0..6).prop_map(String::from_iter)
}

async fn check(process: &Process, id: &str, key: String) {
    let is_valid = !key.contains('\0');
    let wait = Wait(key.clone());
    let mut tx = process.starter.begin().await.unwrap();
    process.sagas.start(&mut tx, id, wait).await.unwrap();
    tx.commit().await.unwrap();
    let status = process.sagas.status(id).await.unwrap().unwrap();
    if !is_valid {
        assert_eq!(status.state, State::Parked);
        let why = status.parked.unwrap();
        assert!(why.contains("bell.rung") && why.contains("NUL"), "{why}");
    }
    let rung = Rung {
        bell: key.clone(),
        by: "a".to_owned(),
    };
    let mut tx = process.starter.begin().await.unwrap();
    match process.sagas.signal(&mut tx, &key, &rung).await {
        Ok(()) if is_valid => tx.commit().await.unwrap(),
        Err(Error::InvalidKey { key: named }) if !is_valid => return assert_eq!(named, key),
        other => panic!("{key:?}: {other:?}"),
    }
    let limit = Duration::from_secs(1);
    let end = process.sagas.wait(id, limit).await.unwrap();
    assert_eq!(end, Some(Outcome::Completed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_key_without_a_nul_meets_its_wait(keys in prop::collection::vec(key(), 1..12)) {
        simulated(async {
            let folder = tempdir().unwrap();
            let process = Process::knowing_nothing(folder.path()).await;
            process.sagas.register(wait);
            for (number, key) in keys.into_iter().enumerate() {
                check(&process, &number.to_string(), key).await;
            }
        });
    }
}
