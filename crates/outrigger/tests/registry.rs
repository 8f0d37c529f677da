//! Processes that find each other by a registry in NATS, where there is no hub.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use discovery::Clients;
use env::config::Secret;
use identity::Issuer;
use outrigger::{Error, Platform, Settings, prelude::*};
use servers::Nats;

type Done = Result<(), BoxError>;

const SERVICE: &str = "greeter-service";

/// Of a process called `name`, whose keys are those of all in `folder`.
fn settings(folder: &Path, name: &str, nats: &Nats) -> Settings {
    let mut settings = Settings {
        data: folder.join(name),
        ..Settings::default()
    };
    settings.security.keys = Some(folder.join("keys.json"));
    settings.discovery.registry = Some(Secret::new(nats.url()));
    settings
}

#[tokio::test]
async fn processes_find_each_other_by_a_registry_in_nats() -> Done {
    let nats = Nats::start(servers::nats::Options::default()).await?;
    let folder = tempfile::tempdir()?;
    let system = System::new("greeting").service(
        Service::new(SERVICE)
            .boundary(Boundary::of("greeting").apis(["/greeting"]))
            .routes(Router::new().route("/greeting", get(async || Json("hello")))),
    );
    let platform = Platform::alone(settings(folder.path(), "greeter", &nats), SERVICE).await?;
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = system.start_service(SERVICE, &platform, anywhere).await?;

    let caller = settings(folder.path(), "caller", &nats);
    let other = Platform::alone(caller.clone(), "caller-service").await?;
    let grants = BTreeMap::from([(SERVICE.to_owned(), vec![identity::CALL.to_owned()])]);
    let issuer = Issuer::new(other.keyring().clone(), "caller-service", grants);
    let client = Clients::new(other.registry().clone(), Some(issuer)).client(SERVICE);
    let heard = client.get::<String>("/greeting", &[]).await?;
    assert_eq!(heard.as_deref(), Some("hello"));

    running.stop().await;
    let gone = client.get::<String>("/greeting", &[]).await;
    assert!(gone.is_err(), "it has left");
    for platform in [platform, other] {
        platform.stop().await;
    }
    let mut twofold = caller;
    twofold.hub.url = Some("http://hub:7700".to_owned());
    let refused = Platform::alone(twofold, "caller-service").await.err();
    assert!(
        matches!(refused, Some(Error::RegistryAndMore)),
        "{refused:?}"
    );
    Ok(())
}
