//! Instances come and go behind a hub, and nobody who calls them notices (G8).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use discovery::{Clients, Hub};
use events::EmbeddedBus;
use identity::{Issuer, Keyring};
use outrigger::{Platform, RunningService, Settings, prelude::*, server};
use tokio_util::sync::CancellationToken;

type Done = Result<(), BoxError>;

const SERVICE: &str = "counter-service";
const ANYWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Takes a moment, so that some requests are always in flight.
async fn count() -> StatusCode {
    env::sleep(Duration::from_millis(5)).await;
    StatusCode::NO_CONTENT
}

fn system() -> System {
    System::new("counting").service(
        Service::new(SERVICE)
            .boundary(Boundary::of("counting").apis(["/counts"]))
            .routes(Router::new().route("/counts", post(count))),
    )
}

async fn hub(folder: &Path, stop: &CancellationToken) -> Result<Hub, BoxError> {
    let url = format!("sqlite:{}", folder.join("hub.sqlite").display());
    let hub = hub::Hub::open(&url, hub::Options::default()).await?;
    let listener = env::net::listen(ANYWHERE).await?;
    let address = listener.local_addr()?;
    let serving = server::serve(listener, hub.routes(), stop.clone(), Duration::ZERO);
    tokio::spawn(serving);
    tokio::spawn(async move { hub.run(CancellationToken::new()).await });
    Ok(Hub::new(&format!("http://{address}"), None)?)
}

struct Place {
    folder: tempfile::TempDir,
    registry: Arc<Hub>,
    keyring: Keyring,
    started: AtomicU64,
}

impl Place {
    /// A platform of its own for each, as if it were another process.
    async fn start(&self) -> Result<RunningService, BoxError> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let data = self.folder.path().join(number.to_string());
        std::fs::create_dir(&data)?;
        let bus = format!("sqlite:{}", data.join("bus.sqlite").display());
        let bus = Arc::new(EmbeddedBus::open(&bus).await?);
        let settings = Settings {
            data,
            ..Settings::default()
        };
        let registry = Arc::clone(&self.registry);
        let platform = Platform::new(settings, bus, registry, self.keyring.clone());
        Ok(system().start_service(SERVICE, &platform, ANYWHERE).await?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_a_rolling_restart_fails_no_request() -> Done {
    let folder = tempfile::tempdir()?;
    let stop = CancellationToken::new();
    let place = Place {
        registry: Arc::new(hub(folder.path(), &stop).await?),
        keyring: Keyring::generate(),
        started: AtomicU64::new(0),
        folder,
    };
    let mut running = vec![place.start().await?, place.start().await?];
    let grants = BTreeMap::from([(SERVICE.to_owned(), vec![identity::CALL.to_owned()])]);
    let issuer = Issuer::new(place.keyring.clone(), "test", grants);
    let clients = Clients::new(place.registry.clone(), Some(issuer));

    let (done, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (client, done, answered) = (
                clients.client(SERVICE),
                Arc::clone(&done),
                Arc::clone(&answered),
            );
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    // Not to be repeated: whatever goes wrong is seen.
                    client.post::<_, ()>("/counts", &[], &()).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, discovery::Error>(())
            })
        })
        .collect();
    for _ in 0..4 {
        running.push(place.start().await?);
        let seen = answered.load(Ordering::Relaxed);
        while answered.load(Ordering::Relaxed) < seen + 50 {
            env::sleep(Duration::from_millis(5)).await;
        }
        running.remove(0).stop().await;
    }
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await??;
    }
    stop.cancel();
    Ok(())
}
