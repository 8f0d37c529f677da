//! What a service says of itself: `/ready` with its dependencies, and the figures of its messages on `/metrics`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use discovery::{InProcess, Ttl};
use events::{Bus, EmbeddedBus, Error, Result as Taken, Subscription};
use identity::Keyring;
use outrigger::{
    GatewayClient, Platform, RunningService, Settings, client::Answer, futures::future::BoxFuture,
    prelude::*,
};
use serde_json::json;

type Done = Result<(), BoxError>;

const SERVICE: &str = "shelf-service";

/// A thing is put on a shelf.
#[derive(Debug, serde::Serialize, serde::Deserialize, JsonSchema, Event)]
#[event("thing.put", version = 1, key = shelf)]
struct Put {
    shelf: String,
    /// Whether it falls down.
    falls: bool,
}

async fn put(_: Context, _: &mut Transaction, put: Put) -> Result<(), BoxError> {
    if put.falls {
        return Err("it falls down".into());
    }
    Ok(())
}

/// An embedded bus that a test takes away.
struct Removable {
    bus: EmbeddedBus,
    /// Nothing is taken or answered.
    away: AtomicBool,
    /// Nobody may join.
    unsuitable: AtomicBool,
}

impl Removable {
    fn check(&self) -> Taken<()> {
        let source = "it was taken away".into();
        match self.away.load(Ordering::SeqCst) {
            true => Err(Error::Unavailable { source }),
            false => Ok(()),
        }
    }

    fn check_suitable(&self) -> Taken<()> {
        let (what, reason) = ("the bus".to_owned(), "it is too small".to_owned());
        match self.unsuitable.load(Ordering::SeqCst) {
            true => Err(Error::Unsuitable { what, reason }),
            false => Ok(()),
        }
    }
}

impl Bus for Removable {
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Taken<()>> {
        Box::pin(async move {
            self.check()?;
            self.bus.publish(batch).await
        })
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        types: &'a [String],
    ) -> BoxFuture<'a, Taken<Box<dyn Subscription>>> {
        Box::pin(async move {
            self.check_suitable()?;
            self.bus.subscribe(group, types).await
        })
    }

    fn rewind<'a>(
        &'a self,
        group: &'a str,
        since: Timestamp,
        meanwhile: BoxFuture<'a, Taken<()>>,
    ) -> BoxFuture<'a, Taken<()>> {
        self.bus.rewind(group, since, meanwhile)
    }

    fn leave_out<'a>(&'a self, group: &'a str, types: &'a [String]) -> BoxFuture<'a, Taken<()>> {
        self.bus.leave_out(group, types)
    }

    fn retention(&self) -> BoxFuture<'_, Taken<Duration>> {
        Box::pin(async move {
            self.check()?;
            self.bus.retention().await
        })
    }
}

/// A service that runs on such a bus.
struct Shelf {
    bus: Arc<Removable>,
    running: RunningService,
    platform: Platform,
    _folder: tempfile::TempDir,
}

impl Shelf {
    async fn start(unsuitable: bool) -> Result<Self, BoxError> {
        let folder = tempfile::tempdir()?;
        let mut settings = Settings {
            data: folder.path().to_owned(),
            ..Settings::default()
        };
        settings.messaging.max_deliveries = 1;
        let file = folder.path().join("bus.sqlite");
        let bus = Arc::new(Removable {
            bus: EmbeddedBus::open(&format!("sqlite:{}", file.display())).await?,
            away: false.into(),
            unsuitable: unsuitable.into(),
        });
        let registry = InProcess::new(Ttl::of(settings.discovery.ttl));
        let (shared, keys) = (Arc::clone(&bus), Keyring::generate());
        let platform = Platform::new(settings, shared, Arc::new(registry), keys);
        let system = System::new("storage").service(
            Service::new(SERVICE)
                .boundary(Boundary::of("storage"))
                .publishes::<Put>()
                .on::<Put, _>(put),
        );
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let running = system.start_service(SERVICE, &platform, anywhere).await?;
        Ok(Self {
            bus,
            running,
            platform,
            _folder: folder,
        })
    }

    async fn put(&self, shelf: &str, falls: bool) -> Done {
        let shelf = shelf.to_owned();
        let mut tx = self.running.context().db().begin().await?;
        tx.publish(Put { shelf, falls })?;
        Ok(tx.commit().await?)
    }

    async fn get(&self, path: &str) -> Result<Answer, BoxError> {
        Ok(GatewayClient::new(self.running.address()).get(path).await?)
    }

    /// A figure, as whoever scrapes it sees it.
    async fn figure(&self, name: &str) -> Result<f64, BoxError> {
        let answer = self.get("/metrics").await?;
        let text = answer.body.as_str().ok_or("no text")?;
        let line = text.lines().find(|line| {
            let named = line.strip_prefix(name);
            named.is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let line = line.ok_or_else(|| format!("no {name} in {text}"))?;
        Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
    }

    async fn until_figure(&self, name: &str, wanted: impl Fn(f64) -> bool) -> Done {
        eventually(name, async || self.figure(name).await.is_ok_and(&wanted)).await
    }

    async fn until_ready(&self, status: u16) -> Result<Answer, BoxError> {
        let is_so = async || self.get("/ready").await.is_ok_and(|it| it.status == status);
        eventually("the readiness", is_so).await?;
        self.get("/ready").await
    }

    async fn stop(self) {
        self.running.stop().await;
        self.platform.stop().await;
    }
}

async fn eventually(what: &str, look: impl AsyncFn() -> bool) -> Done {
    let looking = async {
        while !look().await {
            env::sleep(Duration::from_millis(20)).await;
        }
    };
    let looked = env::timeout(Duration::from_secs(60), looking).await;
    looked.map_err(|_| format!("in vain waited for {what}").into())
}

#[tokio::test]
async fn the_figures_tell_what_is_not_sent_and_what_could_not_be_handled() -> Done {
    let shelf = Shelf::start(false).await?;
    for name in [
        "outrigger_outbox_messages",
        "outrigger_outbox_lag_seconds",
        "outrigger_dead_letters",
        "outrigger_deferred_events",
    ] {
        assert_eq!(shelf.figure(name).await?, 0.0, "{name}");
    }

    shelf.bus.away.store(true, Ordering::SeqCst);
    shelf.put("a", true).await?;
    shelf.put("a", false).await?;
    assert_eq!(shelf.figure("outrigger_outbox_messages").await?, 2.0);
    let lags = |seconds| seconds > 0.0;
    shelf
        .until_figure("outrigger_outbox_lag_seconds", lags)
        .await?;
    assert_eq!(shelf.figure("outrigger_dead_letters").await?, 0.0);

    shelf.bus.away.store(false, Ordering::SeqCst);
    let is = |wanted: f64| move |it: f64| it == wanted;
    shelf
        .until_figure("outrigger_outbox_messages", is(0.0))
        .await?;
    assert_eq!(shelf.figure("outrigger_outbox_lag_seconds").await?, 0.0);
    shelf
        .until_figure("outrigger_dead_letters", is(1.0))
        .await?;
    // The second waits behind it.
    shelf
        .until_figure("outrigger_deferred_events", is(1.0))
        .await?;
    shelf.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_bus_that_is_away_is_shown_and_turns_nobody_away() -> Done {
    let shelf = Shelf::start(false).await?;
    let ready = shelf.until_ready(200).await?;
    let up = json!({ "bus": "up", "consumer": "up", "database": "up" });
    assert_eq!(ready.body["dependencies"], up);
    assert!(ready.body["reasons"].is_null(), "{}", ready.body);

    shelf.bus.away.store(true, Ordering::SeqCst);
    let ready = shelf.get("/ready").await?;
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert_eq!(ready.body["dependencies"]["bus"], "down");
    let reason = ready.body["reasons"]["bus"].as_str().unwrap_or_default();
    assert!(reason.contains("taken away"), "{reason}");
    shelf.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_service_whose_messages_are_not_handled_is_not_ready_until_they_are() -> Done {
    let shelf = Shelf::start(true).await?;
    let not_ready = shelf.until_ready(503).await?;
    assert_eq!(not_ready.body["dependencies"]["consumer"], "down");
    let reason = not_ready.body["reasons"]["consumer"].as_str();
    assert!(
        reason.is_some_and(|it| it.contains("too small")),
        "{}",
        not_ready.body
    );
    shelf.put("a", true).await?;

    // Somebody mends it, and need not start the service again.
    shelf.bus.unsuitable.store(false, Ordering::SeqCst);
    shelf
        .until_figure("outrigger_dead_letters", |it| it == 1.0)
        .await?;
    let ready = shelf.until_ready(200).await?;
    assert_eq!(ready.body["dependencies"]["consumer"], "up");
    shelf.stop().await;
    Ok(())
}
