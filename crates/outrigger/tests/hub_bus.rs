//! Services whose bus is that of a hub: each is told apart by its token, and an operator sees and moves them all.

mod greeter;

use std::{net::SocketAddr, path::Path};

use env::{Timestamp, config::Secret};
use greeter::{Done, SERVICE, system, until_greeted};
use outrigger::{Error, Platform, RunningHub, Settings, events::CloudEvent, groups, rewind};
use serde_json::json;

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
