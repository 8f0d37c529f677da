//! A service is given once more what was published: by the people who look after the system.

mod greeter;

use env::Timestamp;
use greeter::{Done, SERVICE, system, until_greeted};
use outrigger::{Error, Platform, Running, Settings, events::CloudEvent, prelude::*};
use serde_json::json;

async fn start(settings: &Settings) -> Result<Running, BoxError> {
    let platform = Platform::embedded(settings.clone()).await?;
    Ok(system().start(platform).await?)
}

/// The service is not running meanwhile, as when its database is restored.
#[tokio::test]
async fn a_handler_that_is_named_handles_again_what_the_bus_has() -> Done {
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        data: folder.path().to_owned(),
        ..Settings::default()
    };
    let running = start(&settings).await?;
    for id in ["1", "2"] {
        let mut event = CloudEvent::new("guest.arrived", "door", json!({}));
        (event.id, event.source) = (id.to_owned(), "test".to_owned());
        running.platform().bus().publish(vec![event]).await?;
    }
    until_greeted(&running, &["1", "2"]).await?;
    running.stop().await;

    let since = Timestamp::UNIX_EPOCH;
    let rewind = async |again: &[String]| {
        outrigger::rewind::rewind(&system(), &settings, SERVICE, since, again).await
    };
    rewind(&[]).await?;
    rewind(&["guest.*".to_owned()]).await?;
    let running = start(&settings).await?;
    until_greeted(&running, &["1", "2", "1", "2"]).await?;
    running.stop().await;

    let refused = rewind(&["guest".to_owned()]).await;
    let text = refused.expect_err("there is none").to_string();
    assert!(text.ends_with("for `guest`; it has guest.*"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_service_that_never_ran_cannot_go_back() -> Done {
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        data: folder.path().to_owned(),
        ..Settings::default()
    };
    let since = Timestamp::UNIX_EPOCH;
    let refused = outrigger::rewind::rewind(&system(), &settings, SERVICE, since, &[]).await;
    assert!(
        matches!(refused, Err(Error::NeverRan { .. })),
        "{refused:?}"
    );
    let unknown = outrigger::rewind::rewind(&system(), &settings, "nobody", since, &[]).await;
    assert!(
        matches!(unknown, Err(Error::UnknownService { .. })),
        "{unknown:?}"
    );
    Ok(())
}
