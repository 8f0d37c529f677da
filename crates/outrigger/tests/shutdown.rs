//! What a process still does when it has been told to go (G8).

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use discovery::{Clients, InProcess, Registry, Ttl};
use events::{Bus, EmbeddedBus};
use identity::{Issuer, Keyring};
use outrigger::{Platform, Settings, prelude::*};
use tokio::sync::Notify;

type Done = Result<(), BoxError>;

const SERVICE: &str = "shelf-service";
const EVENT: &str = "thing.put";

/// A thing is put on a shelf.
#[derive(Debug, serde::Serialize, serde::Deserialize, JsonSchema, Event)]
#[event("thing.put", version = 1, key = shelf)]
struct Put {
    shelf: String,
}

/// Puts something on the shelf, but not before it is told to.
fn system(begun: Arc<Notify>, go: Arc<Notify>) -> System {
    let put = async move |State(ctx): State<Context>| {
        begun.notify_one();
        go.notified().await;
        let mut tx = ctx.db().begin().await?;
        let shelf = "upper".to_owned();
        tx.publish(Put { shelf })?;
        tx.commit().await?;
        Ok::<_, Rejection>(StatusCode::CREATED)
    };
    System::new("storage").service(
        Service::new(SERVICE)
            .boundary(Boundary::of("storage").apis(["/things"]))
            .publishes::<Put>()
            .routes(Router::new().route("/things", post(put))),
    )
}

/// What Dapr got wrong (#4313): the way to the bus was gone before the application had done what it does last. Here a
/// request that began before the stop writes after the instance has left the registry; its event is on the bus when the
/// process is gone.
#[tokio::test]
async fn g8_what_a_stopping_process_writes_last_is_published_before_it_is_gone() -> Done {
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        data: folder.path().to_owned(),
        ..Settings::default()
    };
    let file = folder.path().join("bus.sqlite");
    let bus = Arc::new(EmbeddedBus::open(&format!("sqlite:{}", file.display())).await?);
    let types = [EVENT.to_owned()];
    let reader = bus.subscribe("reader-service", &types).await?;
    let registry = Arc::new(InProcess::new(Ttl::of(settings.discovery.ttl)));
    let keyring = Keyring::generate();
    let platform = Platform::new(settings, bus.clone(), registry.clone(), keyring.clone());
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let system = system(Arc::clone(&begun), Arc::clone(&go));
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = system.start_service(SERVICE, &platform, anywhere).await?;

    let grants = BTreeMap::from([(SERVICE.to_owned(), vec![identity::CALL.to_owned()])]);
    let issuer = Issuer::new(keyring, "test", grants);
    let client = Clients::new(registry.clone(), Some(issuer)).client(SERVICE);
    let request = tokio::spawn(async move { client.post::<_, ()>("/things", &[], &()).await });
    begun.notified().await;
    let stopping = tokio::spawn(running.stop());
    let mut there = registry.watch(SERVICE);
    there.wait_for(|instances| instances.is_empty()).await?;
    go.notify_one();

    request.await??;
    stopping.await?;
    let delivered = env::timeout(Duration::from_secs(10), reader.next(1)).await??;
    assert_eq!(delivered[0].event.kind, EVENT);
    Ok(())
}
