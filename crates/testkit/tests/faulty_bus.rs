//! A faulty bus is slow, silent and repeats itself; it loses nothing and keeps the order of each key.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use data::{Database, Migration, Transaction, params};
use events::{Bus, CloudEvent, EmbeddedBus, Handlers, consumer};
use outrigger_testkit::{
    Recorder,
    simulation::{
        faulty_bus::{BusFaults, FaultyBus},
        stage::{Ended, Stage},
    },
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const EVENTS: i64 = 40;
const KEYS: i64 = 4;
const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "handled",
    "CREATE TABLE handled (position INTEGER PRIMARY KEY AUTOINCREMENT, key INTEGER, number INTEGER)",
)];

async fn remember(tx: &mut Transaction, event: CloudEvent) -> Result<(), env::BoxError> {
    let number = event.data["number"].as_i64().ok_or("no number")?;
    let sql = "INSERT INTO handled (key, number) VALUES ($1, $2)";
    tx.execute(sql, params![number % KEYS, number]).await?;
    Ok(())
}

async fn publish(bus: &dyn Bus) -> events::Result<()> {
    for number in 0..EVENTS {
        let key = (number % KEYS).to_string();
        let mut event = CloudEvent::new("number.counted", key, json!({ "number": number }));
        event.source = "test".to_owned();
        while let Err(error) = bus.publish(vec![event.clone()]).await {
            if !error.is_retryable() {
                return Err(error);
            }
        }
    }
    Ok(())
}

async fn play(folder: std::path::PathBuf, done: Rc<Cell<bool>>) -> Ended {
    let url = |name: &str| format!("sqlite:{}", folder.join(name).display());
    let inner = Recorder::new(Arc::new(EmbeddedBus::open(&url("bus.sqlite")).await?));
    let faults = BusFaults {
        delay_ms_max: 30,
        silence: 0.3,
        lost_acknowledgement: 0.3,
        reordering: 0.5,
        is_down: false,
    };
    let bus = FaultyBus::new(Arc::new(inner.clone()), faults);
    let db = Database::open(&url("service.sqlite")).await?;
    db.migrate(MIGRATIONS).await?;
    let handlers = Handlers::new().on_raw("number.*", remember);
    // A lost acknowledgement counts as a delivery: with three in ten, some events come often.
    let options = consumer::Options {
        max_deliveries: 1_000,
        ..consumer::Options::default()
    };
    let (reading, stop) = (db.clone(), CancellationToken::new());
    let consumed: Arc<dyn Bus> = Arc::new(bus.clone());
    tokio::spawn(
        async move { consumer::run(db, consumed, "counter", handlers, options, stop).await },
    );
    publish(&bus).await?;
    loop {
        let rows = reading
            .query("SELECT key, number FROM handled ORDER BY position", &[])
            .await?;
        if rows.len() as i64 >= EVENTS {
            env::sleep(Duration::from_secs(5)).await; // what comes again would come now
            let rows = reading
                .query("SELECT key, number FROM handled ORDER BY position", &[])
                .await?;
            let numbers: Vec<i64> = rows
                .iter()
                .map(|row| row.get(1).expect("a number"))
                .collect();
            assert_eq!(
                numbers.len() as i64,
                EVENTS,
                "each is handled once: {numbers:?}"
            );
            for key in 0..KEYS {
                let of_key = numbers.iter().filter(|number| *number % KEYS == key);
                assert!(of_key.is_sorted(), "the order of key {key}: {numbers:?}");
            }
            assert_eq!(inner.events("number.*").len() as i64, EVENTS);
            done.set(true);
            return Ok(());
        }
        env::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn g2_g3_g4_nothing_is_lost_repeated_or_reordered_on_a_faulty_bus() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let lost = Stage::play(seed, None, |stage| {
            let done = Rc::new(Cell::new(false));
            let (told, folder) = (Rc::clone(&done), folder.to_owned());
            stage.machine("consumer", move || play(folder.clone(), Rc::clone(&told)));
            while !done.get() {
                stage.step().expect("the machine runs on");
                assert!(
                    stage.elapsed() < Duration::from_secs(300),
                    "not all were handled"
                );
            }
            stage.take_panics()
        });
        assert_eq!(lost.expect("a stage"), Vec::<String>::new(), "seed {seed}");
    }
}
