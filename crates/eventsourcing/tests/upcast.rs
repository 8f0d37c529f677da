//! Events of earlier forms are read in the present one; of later forms, not at all.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use std::fmt::Debug;

use bank::Bank;
use outrigger_eventsourcing::{Aggregate, Append, Error, Expected, Store, Upcaster};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

on_each_engine!(
    every_form_is_brought_to_the_present_one,
    a_later_form_is_an_error_that_names_both,
    a_step_that_is_missing_is_an_error_and_nothing_is_guessed,
    data_that_a_step_leaves_in_a_wrong_form_is_an_error,
);

/// Something whose events are kept, in some form.
trait Form: Serialize + DeserializeOwned + Clone + Debug + Send + Sync {
    const UPCASTERS: &'static [Upcaster] = &[];
}

#[derive(Debug)]
struct Log<E>(Vec<E>);

impl<E> Default for Log<E> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<E: Form> Aggregate for Log<E> {
    const KIND: &'static str = "log";
    const UPCASTERS: &'static [Upcaster] = E::UPCASTERS;
    type Event = E;

    fn apply(&mut self, event: &E) {
        self.0.push(event.clone());
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum First {
    Paid(i64),
    Closed,
}
impl Form for First {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum Second {
    Paid { amount: i64 },
    Closed { reason: String },
}
impl Form for Second {
    const UPCASTERS: &'static [Upcaster] = &[
        Upcaster::new("Paid", 1, |amount| json!({ "amount": amount })),
        Upcaster::new("Closed", 1, |none| {
            assert!(none.is_null());
            json!({ "reason": "unknown" })
        }),
    ];
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum Third {
    Credited { amount: i64, currency: String },
    Closed { reason: String },
}
impl Form for Third {
    const UPCASTERS: &'static [Upcaster] = &[
        Second::UPCASTERS[0],
        Second::UPCASTERS[1],
        Upcaster::new("Paid", 2, |mut data| {
            data["currency"] = "EUR".into();
            data
        })
        .renamed("Credited"),
    ];
}

async fn append<E: Form>(bank: &Bank, events: &[E]) {
    let mut tx = bank.db.begin().await.expect("begun");
    tx.append::<Log<E>>("1", Expected::Any, events)
        .await
        .expect("appended");
    tx.commit().await.expect("committed");
}

async fn every_form_is_brought_to_the_present_one(bank: Bank) {
    append(&bank, &[First::Paid(1), First::Closed]).await;
    append(&bank, &[Second::Paid { amount: 2 }]).await;
    let present = Third::Credited {
        amount: 3,
        currency: "USD".to_owned(),
    };
    append(&bank, std::slice::from_ref(&present)).await;

    let store = Store::new(bank.db);
    let read = store.load::<Log<Third>>("1").await.unwrap();
    let credited = |amount| Third::Credited {
        amount,
        currency: "EUR".to_owned(),
    };
    let closed = Third::Closed {
        reason: "unknown".to_owned(),
    };
    assert_eq!(read.state.0, [credited(1), closed, credited(2), present]);
    // What is stored stays as it was.
    let stored = store.events::<Log<Third>>("1", 1, 10).await.unwrap();
    let forms: Vec<_> = stored
        .iter()
        .map(|event| (event.name.as_str(), event.schema))
        .collect();
    assert_eq!(
        forms,
        [("Paid", 1), ("Closed", 1), ("Paid", 2), ("Credited", 3)]
    );
    assert_eq!(stored[0].data.as_deref(), Some("1"));
}

async fn a_later_form_is_an_error_that_names_both(bank: Bank) {
    append(&bank, &[Second::Paid { amount: 2 }]).await;
    let store = bank.store();
    let error = store.load::<Log<First>>("1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "event 1 of log/1 is a `Paid` in schema version 2, which can be brought to 2; this code reads 1"
    );
    let all = bank.all(1).await;
    let read = all[0].read::<Log<First>>();
    assert!(matches!(
        read,
        Err(Error::SchemaVersion {
            stored: 2,
            known: 1,
            ..
        })
    ));
}

async fn a_step_that_is_missing_is_an_error_and_nothing_is_guessed(bank: Bank) {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(tag = "type", content = "data")]
    enum Gapped {
        Paid(i64),
    }
    impl Form for Gapped {
        const UPCASTERS: &'static [Upcaster] = &[Upcaster::new("Paid", 2, |data| data)];
    }
    append(&bank, &[First::Paid(1)]).await;
    let error = Store::new(bank.db)
        .load::<Log<Gapped>>("1")
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::SchemaVersion {
                stored: 1,
                reached: 1,
                known: 3,
                ..
            }
        ),
        "{error}"
    );
}

async fn data_that_a_step_leaves_in_a_wrong_form_is_an_error(bank: Bank) {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(tag = "type", content = "data")]
    enum Wrong {
        Paid(i64),
    }
    impl Form for Wrong {
        const UPCASTERS: &'static [Upcaster] = &[Upcaster::new("Paid", 1, |_| json!("one"))];
    }
    append(&bank, &[First::Paid(1)]).await;
    let error = Store::new(bank.db)
        .load::<Log<Wrong>>("1")
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unreadable { schema: 1, .. }),
        "{error}"
    );
}
