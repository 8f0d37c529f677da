//! G2 on the embedded bus: whatever its disk fails to sync, what is published until it is taken is delivered.

use std::{collections::BTreeSet, time::Duration};

use data::Database;
use events::{Bus, CloudEvent, EmbeddedBus, embedded::Options};
use futures::future::join_all;
use outrigger_testkit::disk::{Disk, Faults, Odds};
use serde_json::json;

const KEYS: u64 = 3;
const EVENTS: u64 = 12;
const PATIENCE: Duration = Duration::from_secs(600);

/// Publishes the events of a key one by one, each until it is taken, as relays do.
async fn publish(bus: &EmbeddedBus, key: u64) {
    for number in 0..EVENTS {
        let mut event = CloudEvent::new("counted", key.to_string(), json!({}));
        event.id = format!("{key}-{number}");
        event.source = "counter".to_owned();
        env::sleep(Duration::from_millis((3 * key + 5 * number) % 7)).await;
        while let Err(error) = bus.publish(vec![event.clone()]).await {
            assert!(!error.is_refusal(), "{error:?}");
            env::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Events of several keys are published, each by its publisher, and handled for a while, as members do.
async fn life(seed: u64) {
    let disk = Disk::new(seed).expect("a disk");
    let db = Database::open(&disk.url("bus.sqlite")).await;
    let bus = EmbeddedBus::with(db.expect("a database"), Options::default()).await;
    let bus = bus.expect("a bus");
    let member = bus.subscribe("group", &["counted".to_owned()]).await;
    let member = member.expect("a member");
    disk.set_faults(Faults {
        sync_fails: Odds::OneIn(3),
        ..Faults::default()
    });
    let publishing = join_all((0..KEYS).map(|key| publish(&bus, key)));
    let handling = async {
        let mut handled = BTreeSet::new();
        while handled.len() < (KEYS * EVENTS) as usize {
            let Ok(taken) = member.next(4).await else {
                env::sleep(Duration::from_millis(5)).await;
                continue;
            };
            env::sleep(Duration::from_millis(7)).await;
            for delivery in taken {
                handled.insert(delivery.event.id.clone());
                while member.ack(&delivery).await.is_err() {
                    env::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    };
    let both = async { tokio::join!(publishing, handling) };
    let done = env::timeout(PATIENCE, both).await;
    assert!(done.is_ok(), "seed {seed}: something was lost");
    assert!(disk.struck() > 0, "seed {seed}: the disk has not failed");
}

#[test]
fn g2_not_lost_on_a_disk_whose_syncs_fail() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    for seed in 0..40 {
        runtime.block_on(life(seed));
    }
}
