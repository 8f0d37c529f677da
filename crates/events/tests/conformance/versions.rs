//! Two versions of a service in one group at once, as during every update.

use std::{collections::BTreeMap, sync::Arc};

use data::{Database, Migration, Transaction, params};
use env::BoxError;
use events::{Bus, CloudEvent, DeadLetters, Handlers, consumer, dead_letters::Filter};
use outrigger_events as events;
use tokio_util::sync::CancellationToken;

use super::join;
use crate::support::{self, Folder, drain, event, eventually};

const GROUP: &str = "notification-service";
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// A type that is added counts from then on. Who joins without one leaves it to the others.
pub(crate) async fn joining_only_adds_types(bus: Arc<dyn Bus>) {
    let of = |kind: &str, number| bus.publish(vec![event(kind, "k", number)]);
    let older = join(&bus, "orders", &["order.created"]).await;
    of("order.paid", 1).await.expect("published");
    let newer = join(&bus, "orders", &["order.created", "order.paid"]).await;
    of("order.paid", 2).await.expect("published");
    drop(older);
    // A machine is lost during the update, and another starts what it had.
    let older = join(&bus, "orders", &["order.created"]).await;
    of("order.paid", 3).await.expect("published");
    drop((newer, older));
    let older = join(&bus, "orders", &["order.created"]).await;
    of("order.paid", 4).await.expect("published");
    drop(older);
    let newer = join(&bus, "orders", &["order.created", "order.paid"]).await;
    assert_eq!(drain(newer.as_ref()).await, ["k-2", "k-3", "k-4"]);
}

/// What waits of a type that is left out is given up, and what others of the group's types cover is not.
pub(crate) async fn a_type_is_left_out_by_saying_so(bus: Arc<dyn Bus>) {
    let types = ["order.created", "order.*", "user.updated"];
    drop(join(&bus, "orders", &types).await);
    let all = |number| {
        let kinds = ["order.created", "order.paid", "user.updated"];
        kinds.map(|kind| event(kind, kind, number)).to_vec()
    };
    bus.publish(all(1)).await.expect("published");
    let left_out = ["order.*".to_owned(), "user.updated".to_owned()];
    for group in ["orders", "nobody"] {
        bus.leave_out(group, &left_out).await.expect("left out");
    }
    bus.publish(all(2)).await.expect("published");
    let orders = join(&bus, "orders", &["order.created"]).await;
    let seen = drain(orders.as_ref()).await;
    assert_eq!(seen, ["order.created-1", "order.created-2"]);
    // Nothing is left to want, and everything may be wanted again.
    let last = ["order.created".to_owned()];
    bus.leave_out("orders", &last).await.expect("left out");
    bus.publish(all(3)).await.expect("published");
    assert!(drain(orders.as_ref()).await.is_empty());
    let orders = join(&bus, "orders", &types).await;
    bus.publish(all(4)).await.expect("published");
    let mut seen = drain(orders.as_ref()).await;
    seen.sort();
    assert_eq!(seen, ["order.created-4", "order.paid-4", "user.updated-4"]);
}

/// Several that join with different types at once get what each has asked for.
pub(crate) async fn joining_at_once_loses_nobodys_types(bus: Arc<dyn Bus>) {
    let kinds = ["a.x", "b.x", "c.x", "d.x"];
    drop(join(&bus, "orders", &["order.created"]).await);
    let joining = kinds.map(|kind| {
        let bus = Arc::clone(&bus);
        async move { join(&bus, "orders", &[kind]).await }
    });
    let members = futures::future::join_all(joining).await;
    let events = kinds.map(|kind| event(kind, kind, 1));
    bus.publish(events.to_vec()).await.expect("published");
    let mut seen = drain(members[0].as_ref()).await;
    seen.sort();
    assert_eq!(seen, ["a.x-1", "b.x-1", "c.x-1", "d.x-1"]);
}

async fn note(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    let insert = "INSERT INTO handled (id) VALUES ($1)";
    tx.execute(insert, params![event.id]).await?;
    Ok(())
}

fn older() -> Handlers {
    Handlers::new().on_raw("order.created", note)
}

fn newer() -> Handlers {
    older().on_raw("order.paid", note)
}

struct Replica {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<events::Result<()>>,
}

impl Replica {
    fn start(db: &Database, bus: &Arc<dyn Bus>, handlers: Handlers) -> Self {
        let stop = CancellationToken::new();
        let (db, bus) = (db.clone(), Arc::clone(bus));
        let options = consumer::Options::default();
        let run = consumer::run(db, bus, GROUP, handlers, options, stop.clone());
        let task = tokio::spawn(run);
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("stopped");
    }
}

async fn handled(db: &Database) -> Vec<String> {
    let all = "SELECT id FROM handled WHERE id NOT LIKE 'probe%' ORDER BY position";
    let rows = db.query(all, params![]).await.expect("what was handled");
    rows.iter().map(|row| row.get(0).expect("an id")).collect()
}

/// Of every key, events of both types by turns.
async fn publish(bus: &Arc<dyn Bus>, numbers: std::ops::Range<u32>) {
    let events = numbers.flat_map(|number| {
        let kind = ["order.created", "order.paid"][number as usize % 2];
        KEYS.map(|key| event(kind, key, number))
    });
    bus.publish(events.collect()).await.expect("published");
}

/// Publishes events of the new type, until one is handled.
async fn until_wanted(bus: &Arc<dyn Bus>, db: &Database) {
    let mut number = 0;
    let probes = "SELECT 1 FROM handled WHERE id LIKE 'probe%'";
    while db
        .query_one(probes, params![])
        .await
        .expect("a look")
        .is_none()
    {
        number += 1;
        let probe = event("order.paid", "probe", number);
        bus.publish(vec![probe]).await.expect("published");
        env::sleep(support::moment() / 5).await;
    }
}

/// A new type's events are neither lost nor dead letters nor out of order, though most replicas are of the version that
/// does not know it, or for a while all.
pub(crate) async fn g2_not_lost_and_g4_ordered_while_two_versions_run(bus: Arc<dyn Bus>) {
    let _clock = support::clock();
    let folder = Folder::new();
    two_versions_run(bus, folder.database(GROUP).await).await;
}

/// The same, on a database of any kind.
pub(crate) async fn two_versions_run(bus: Arc<dyn Bus>, db: Database) {
    let sql = "CREATE TABLE handled (position INTEGER PRIMARY KEY, id TEXT NOT NULL)";
    let on_postgresql = "CREATE TABLE handled
        (position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT NOT NULL)";
    let tables = [Migration::new(1, "handled", sql).postgres(on_postgresql)];
    db.migrate(&tables).await.expect("migrated");
    let mut replicas: Vec<Replica> = (0..3).map(|_| Replica::start(&db, &bus, older())).collect();
    publish(&bus, 0..1).await;
    eventually("it runs", async || handled(&db).await.len() == KEYS.len()).await;

    let canary = Replica::start(&db, &bus, newer());
    until_wanted(&bus, &db).await;
    for number in 1..13 {
        publish(&bus, number..number + 1).await;
    }
    let all = async || handled(&db).await.len() == 13 * KEYS.len();
    eventually("all is handled", all).await;
    // The canary goes, an old replica is replaced by an old one, and only later the update goes on.
    canary.stop().await;
    replicas.remove(0).stop().await;
    replicas.push(Replica::start(&db, &bus, older()));
    publish(&bus, 13..19).await;
    let waiting = "SELECT count(*) FROM outrigger_deferred WHERE key <> 'probe'";
    let taken_over = async || {
        let row = db.query_one(waiting, params![]).await.expect("counted");
        row.expect("a count").get::<i64>(0).expect("a number") == 6 * KEYS.len() as i64
    };
    eventually("it waits for a newer version", taken_over).await;
    replicas.push(Replica::start(&db, &bus, newer()));
    let all = async || handled(&db).await.len() == 19 * KEYS.len();
    eventually("all is handled", all).await;
    for replica in replicas {
        replica.stop().await;
    }

    let mut by_key: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for id in handled(&db).await {
        let (key, number) = id.split_once('-').expect("key-number");
        let numbers = by_key.entry(key.to_owned()).or_default();
        numbers.push(number.parse().expect("a number"));
    }
    let expected: Vec<u32> = (0..19).collect();
    for (key, numbers) in by_key {
        assert_eq!(numbers, expected, "{key}");
    }
    let letters = DeadLetters::of(&db);
    let page = letters.list(&Filter::default(), None, 1).await;
    assert!(page.expect("listed").dead_letters.is_empty());
}
