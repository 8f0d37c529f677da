//! Services whose bus is that of a hub: each is told apart by its token, and an operator sees and moves them all.

use std::{net::SocketAddr, path::Path, time::Duration};

use env::{Timestamp, config::Secret};
use outrigger::{
    Error, Platform, Running, RunningHub, Settings, events::CloudEvent, groups, prelude::*, rewind,
};
use serde_json::json;

type Done = Result<(), BoxError>;

const SERVICE: &str = "greeter-service";

const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "greeted",
    "CREATE TABLE greeted (position INTEGER PRIMARY KEY, id TEXT NOT NULL)",
)];

async fn greet(_: Context, tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    let insert = "INSERT INTO greeted (id) VALUES ($1)";
    tx.execute(insert, params![event.id]).await?;
    Ok(())
}

fn system() -> System {
    System::new("greetings").service(
        Service::new(SERVICE)
            .boundary(Boundary::of("greetings").owns(["greeted"]))
            .migrations(MIGRATIONS)
            .on_raw("guest.*", greet),
    )
}

/// Of a process called `name`, whose keys are those of all in `folder`, and whose bus is at `hub`.
fn settings(folder: &Path, name: &str, hub: SocketAddr) -> Settings {
    let mut settings = Settings {
        data: folder.join(name),
        ..Settings::default()
    };
    settings.security.keys = Some(folder.join("keys.json"));
    settings.messaging.bus = Some(Secret::new(format!("http://{hub}")));
    settings
}

async fn until_greeted(running: &Running, wanted: &[&str]) -> Done {
    let db = running.services()[0].context().db();
    for _ in 0..1000 {
        let rows = db.query("SELECT id FROM greeted ORDER BY position", &[]);
        let ids: Result<Vec<String>, _> = rows.await?.iter().map(|row| row.get(0)).collect();
        if ids? == wanted {
            return Ok(());
        }
        env::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("in vain waited for {wanted:?}").into())
}

fn arrival(id: &str) -> Vec<CloudEvent> {
    let mut event = CloudEvent::new("guest.arrived", "door", json!({}));
    (event.id, event.source) = (id.to_owned(), "door-service".to_owned());
    vec![event]
}

#[tokio::test]
async fn services_meet_on_the_bus_of_a_hub_that_knows_them_apart() -> Done {
    let folder = tempfile::tempdir()?;
    let of_hub = Settings {
        data: folder.path().to_owned(),
        ..Settings::default()
    };
    let hub = RunningHub::start(&of_hub, ([127, 0, 0, 1], 0).into()).await?;
    let at = hub.address();
    let of = |name: &str| settings(folder.path(), name, at);
    let running = system()
        .start(Platform::embedded(of("greeter")).await?)
        .await?;
    let door = Platform::embedded(of("door")).await?;
    door.bus_of("door-service").publish(arrival("1")).await?;
    until_greeted(&running, &["1"]).await?;
    let forged = door.bus_of("window-service").publish(arrival("2")).await;
    assert!(forged.is_err(), "it is not the source of that event");

    let found = groups::list(&system(), &of("greeter")).await?;
    assert_eq!((found[0].group.as_str(), found[0].pending), (SERVICE, 0));
    let again = ["guest.*".to_owned()];
    rewind::rewind(
        &system(),
        &of("greeter"),
        SERVICE,
        Timestamp::UNIX_EPOCH,
        &again,
    )
    .await?;
    until_greeted(&running, &["1", "1"]).await?;
    running.stop().await;
    door.stop().await;

    let mut stranger = of("stranger");
    stranger.security.keys = Some(folder.path().join("other.json"));
    let refused = groups::list(&system(), &stranger).await;
    assert!(matches!(refused, Err(Error::Start { .. })), "{refused:?}");
    // What is in the hub's folder is what it serves.
    let served = groups::list(&system(), &of_hub).await?;
    assert_eq!(served[0].group, SERVICE);
    hub.stop().await;
    Ok(())
}
