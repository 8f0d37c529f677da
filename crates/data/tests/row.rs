//! Values go in and come out as what they were.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use env::{Timestamp, Uuid};
use fixture::Fixture;
use outrigger_data as data;

use data::{Database, Engine, Error, FromValue, Migration, Row, Value, params};

on_each_engine!(
    values_round_trip,
    a_sum_of_integers_is_an_integer_and_an_average_is_not,
    what_does_not_fit_is_an_error_that_names_the_column,
    columns_follow_a_change_of_the_schema,
    an_array_is_rows_where_the_engine_has_arrays,
);

const TYPED: &[Migration] = &[Migration::new(
    1,
    "typed",
    "CREATE TABLE typed (
         whole BIGINT, small SMALLINT, medium INTEGER, flag BOOLEAN, part DOUBLE PRECISION,
         words TEXT, short VARCHAR(40), bytes BYTEA
     )",
)];

async fn typed(fixture: Fixture) -> Fixture {
    fixture.db.migrate_part("typed", TYPED).await.unwrap();
    fixture
}

async fn round_trip(db: &Database, column: &str, value: Value) -> Row {
    let mut tx = db.begin().await.unwrap();
    let sql = format!("INSERT INTO typed ({column}) VALUES ($1) RETURNING {column} AS it");
    let row = tx.query_one(&sql, &[value]).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    row
}

async fn keeps<T>(db: &Database, column: &str, value: T)
where
    T: FromValue + Into<Value> + Clone + PartialEq + std::fmt::Debug,
{
    let row = round_trip(db, column, value.clone().into()).await;
    assert_eq!(row.get::<T>("it").unwrap(), value);
}

async fn values_round_trip(fixture: Fixture) {
    let fixture = typed(fixture).await;
    let db = &fixture.db;
    keeps(db, "whole", i64::MIN).await;
    keeps(db, "whole", u32::MAX).await;
    keeps(db, "small", -7_i16).await;
    keeps(db, "medium", i32::MAX).await;
    keeps(db, "flag", true).await;
    keeps(db, "flag", false).await;
    keeps(db, "part", 0.5).await;
    keeps(db, "words", "späte Änderung".to_owned()).await;
    keeps(db, "words", Uuid::from_u128(7)).await;
    keeps(db, "short", "short".to_owned()).await;
    keeps(db, "bytes", vec![0_u8, 255]).await;
    keeps(db, "bytes", Vec::<u8>::new()).await;
    keeps(
        db,
        "whole",
        Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
    )
    .await;
    keeps(db, "words", None::<String>).await;
    keeps(db, "whole", Some(7_i64)).await;
    keeps(db, "bytes", Value::Null).await;
    // What SQLite does with a whole number in a column of reals, and with its digits in one of
    // integers.
    let row = round_trip(db, "part", Value::Integer(3)).await;
    assert_eq!(row.values(), [Value::Real(3.0)]);
    let row = round_trip(db, "whole", Value::Text("12".to_owned())).await;
    assert_eq!(row.values(), [Value::Integer(12)]);
    let row = round_trip(db, "flag", true.into()).await;
    assert_eq!(row.values(), [Value::Integer(1)]);
}

async fn a_sum_of_integers_is_an_integer_and_an_average_is_not(fixture: Fixture) {
    let fixture = typed(fixture).await;
    for number in [1_i64, 2, 4] {
        round_trip(&fixture.db, "whole", number.into()).await;
    }
    let sql = "SELECT sum(whole) AS sum, avg(whole) AS avg, count(*) AS count FROM typed
               WHERE whole < $1 HAVING sum(whole) > $2";
    let row = fixture
        .db
        .query_one(sql, params![4, 2])
        .await
        .unwrap()
        .unwrap();
    let expected = [Value::Integer(3), Value::Real(1.5), Value::Integer(2)];
    assert_eq!(row.values(), expected);
}

async fn what_does_not_fit_is_an_error_that_names_the_column(fixture: Fixture) {
    let fixture = typed(fixture).await;
    let db = &fixture.db;
    let row = round_trip(db, "whole", 300.into()).await;
    let error = row.get::<u8>("it").unwrap_err();
    assert_eq!(
        error.to_string(),
        "column it holds an integer, which is no u8"
    );
    assert!(matches!(row.get::<String>(0), Err(Error::Type { .. })));
    let null = round_trip(db, "whole", Value::Null).await;
    assert!(matches!(null.get::<i64>(0), Err(Error::Type { .. })));
    assert_eq!(
        row.get::<i64>("id").unwrap_err().to_string(),
        "no column id among: it"
    );
    assert!(matches!(row.get::<i64>(1), Err(Error::NoColumn { .. })));
}

async fn columns_follow_a_change_of_the_schema(fixture: Fixture) {
    let db = &fixture.db;
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
    db.migrate_part("extra", &[Migration::new(1, "extra", sql)])
        .await
        .unwrap();
    assert_eq!(read().await.get::<i64>("extra").unwrap(), 7);
}

async fn an_array_is_rows_where_the_engine_has_arrays(fixture: Fixture) {
    let db = &fixture.db;
    let words: Value = [Some("one"), None, Some("zwei \" , {}")]
        .into_iter()
        .collect();
    if db.engine() == Engine::Sqlite {
        let error = db.query("SELECT $1", &[words]).await.unwrap_err();
        let reason = std::error::Error::source(&error).unwrap().to_string();
        assert!(reason.contains("SQLite has no arrays"), "{reason}");
        return;
    }
    let rows = "SELECT word, number, flag
                FROM unnest($1::text[], $2::smallint[], $3::boolean[]) AS it (word, number, flag)";
    let numbers: Value = [1, -2, 3].into_iter().collect();
    let flags: Value = [true, false, true].into_iter().collect();
    let read = db.query(rows, &[words.clone(), numbers, flags]).await;
    let read = read.unwrap();
    let values: Vec<_> = read.iter().map(|row| row.values().to_vec()).collect();
    assert_eq!(
        values,
        [
            params!["one", 1, 1].to_vec(),
            params![None::<&str>, -2, 0].to_vec(),
            params!["zwei \" , {}", 3, 1].to_vec(),
        ]
    );
    let nothing: Value = Vec::<i64>::new().into_iter().collect();
    let count = "SELECT count(*) FROM unnest($1::bigint[])";
    let row = db.query_one(count, &[nothing]).await.unwrap().unwrap();
    assert_eq!(row.get::<u32>(0).unwrap(), 0);

    // Not what the statement wants: a list, or one of something else.
    for (sql, value) in [
        ("SELECT $1::text", words.clone()),
        (count, words),
        (count, "5".into()),
    ] {
        let error = db.query(sql, &[value]).await.unwrap_err();
        let reason = std::error::Error::source(&error).unwrap();
        assert!(matches!(error, Error::Statement { .. }), "{reason}");
    }
}
