//! Values go in and come out as what they were.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use env::{Timestamp, Uuid};
use fixture::Fixture;
use outrigger_data as data;

use data::{Error, FromValue, Row, Value, params};

async fn round_trip(value: impl Into<Value>) -> Row {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    db.query_one("SELECT $1 AS it", &[value.into()])
        .await
        .unwrap()
        .unwrap()
}

async fn keeps<T: FromValue + Into<Value> + Clone + PartialEq + std::fmt::Debug>(value: T) {
    assert_eq!(
        round_trip(value.clone()).await.get::<T>("it").unwrap(),
        value
    );
}

#[tokio::test]
async fn values_round_trip() {
    keeps(i64::MIN).await;
    keeps(u32::MAX).await;
    keeps(true).await;
    keeps(0.5).await;
    keeps("späte Änderung\0".to_owned()).await;
    keeps(vec![0_u8, 255]).await;
    keeps(Vec::<u8>::new()).await;
    keeps(Uuid::from_u128(7)).await;
    keeps(Timestamp::from_millisecond(1_700_000_000_123).unwrap()).await;
    keeps(None::<String>).await;
    keeps(Some(7_i64)).await;
    keeps(Value::Null).await;
}

#[tokio::test]
async fn what_does_not_fit_is_an_error_that_names_the_column() {
    let row = round_trip(300).await;
    let error = row.get::<u8>("it").unwrap_err();
    assert_eq!(
        error.to_string(),
        "column it holds an integer, which is no u8"
    );
    assert!(matches!(row.get::<String>(0), Err(Error::Type { .. })));
    assert!(matches!(
        round_trip(Value::Null).await.get::<i64>(0),
        Err(Error::Type { .. })
    ));
    assert_eq!(
        row.get::<i64>("id").unwrap_err().to_string(),
        "no column id among: it"
    );
    assert!(matches!(row.get::<i64>(1), Err(Error::NoColumn { .. })));
}

#[tokio::test]
async fn columns_follow_a_change_of_the_schema() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    let mut tx = db.begin().await.unwrap();
    fixture::insert(&mut tx, 1).await.unwrap();
    tx.commit().await.unwrap();
    let read = async || {
        db.query_one("SELECT * FROM entry", params![])
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(read().await.columns(), ["id", "note"]);

    let sql = "ALTER TABLE entry ADD COLUMN extra BIGINT NOT NULL DEFAULT 7";
    db.migrate_part("extra", &[data::Migration::new(1, "extra", sql)])
        .await
        .unwrap();
    assert_eq!(read().await.get::<i64>("extra").unwrap(), 7);
}
