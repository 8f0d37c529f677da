//! What a NATS server may be like: away, full, foreign, encrypted, or set so that it may lose something.

mod support;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::jetstream;
use data::{Database, Transaction, params};
use env::BoxError;
use events::{
    Bus, CloudEvent, DeadLetters, Handlers, NatsBus, Publish, consumer, dead_letters::Filter, nats,
    relay,
};
use outrigger_events as events;
use serde_json::json;
use servers::Nats;
use support::{Folder, drain, event, eventually, take};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

async fn server(options: servers::nats::Options) -> Nats {
    support::real_time();
    Nats::start(options).await.expect("a server")
}

async fn connect(url: &str, options: nats::Options) -> NatsBus {
    NatsBus::connect(url, options).await.expect("a bus")
}

async fn publishes(bus: &NatsBus) -> events::Result<()> {
    bus.publish(vec![event("order.created", "a", 1)]).await
}

/// The same server as an operator has it in hand.
async fn operator(server: &Nats) -> jetstream::Context {
    let client = async_nats::connect(server.address().to_string()).await;
    jetstream::new(client.expect("a client"))
}

/// Much is held while it is away, whose leases would be kept, and nobody hears it.
#[tokio::test]
async fn g8_rolling_closing_takes_no_time_while_the_server_is_away() {
    let mut server = server(servers::nats::Options::default()).await;
    let options = nats::Options {
        partitions: Some(64),
        lease: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        ..nats::Options::default()
    };
    let bus = connect(&server.url(), options).await;
    let keys = (0..300).map(|key| event("order.created", &key.to_string(), 1));
    bus.publish(keys.collect()).await.expect("published");
    let types = ["order.*".to_owned()];
    let mut held = Vec::new();
    for group in ["one", "two", "three", "four", "five"] {
        let member = bus.subscribe(group, &types).await.expect("subscribed");
        let mut taken = Vec::new();
        while taken.len() < 60 {
            taken.extend(take(member.as_ref(), 64).await);
        }
        held.push((member, taken));
    }
    server.kill().await;
    // 300 leases and more would be prolonged three times a second, and the client keeps 2,048 commands.
    env::sleep(Duration::from_secs(4)).await;
    let settling = async {
        for (member, taken) in &held {
            for delivery in taken {
                member.ack(delivery).await.expect("it is told later");
            }
        }
    };
    let limit = Duration::from_secs(8);
    env::timeout(limit, settling).await.expect("in time");
    env::timeout(limit, bus.close()).await.expect("in time");
}

/// Another may send what none of ours may, and a failing handler must not stop those behind it.
#[tokio::test]
async fn a_foreign_event_over_every_limit_is_kept_whole_and_stops_nothing() {
    async fn handle(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
        if event.id == "a-1" {
            return Err("it is too much".into());
        }
        let insert = "INSERT INTO notes (id) VALUES ($1)";
        tx.execute(insert, params![event.id]).await?;
        Ok(())
    }
    let server = server(servers::nats::Options {
        max_payload: Some(4 * 1024 * 1024),
        ..servers::nats::Options::default()
    })
    .await;
    let one = nats::Options {
        partitions: Some(1),
        ..nats::Options::default()
    };
    let bus = Arc::new(connect(&server.url(), one).await);
    let folder = Folder::new();
    let db = folder.database("notification-service").await;
    let notes = "CREATE TABLE notes (id TEXT NOT NULL)";
    let notes = [data::Migration::new(1, "notes", notes)];
    db.migrate(&notes).await.expect("migrated");
    let mut large = event("order.created", "a", 1);
    large.data = json!("x".repeat(3 * 512 * 1024));
    let mut held = event("order.created", "a", 2);
    held.data = large.data.clone();
    let others = [large.clone(), held, event("order.created", "b", 1)];
    bus.publish(others.to_vec()).await.expect("published");
    let stop = CancellationToken::new();
    let options = consumer::Options {
        max_deliveries: 1,
        ..consumer::Options::default()
    };
    let handlers = Handlers::new().on_raw("order.*", handle);
    let run = consumer::run(db.clone(), bus, "notices", handlers, options, stop.clone());
    let running = tokio::spawn(run);
    let letters = DeadLetters::of(&db);
    let listed = async || letters.list(&Filter::default(), None, 10).await;
    let is_dead = async || {
        let page = listed().await;
        page.is_ok_and(|page| page.dead_letters.iter().any(|it| it.held == 1))
    };
    eventually("it is dead, and the next waits", is_dead).await;
    let page = listed().await.expect("listed");
    assert_eq!(page.dead_letters[0].event.data, large.data);
    let dropped = letters.drop(&Filter::id("a-1")).await;
    assert_eq!(dropped.expect("dropped"), 1);
    let all = "SELECT id FROM notes WHERE id IN ('b-1', 'a-2')";
    let handled = async || db.query(all, params![]).await.is_ok_and(|it| it.len() == 2);
    eventually("the others are handled", handled).await;
    stop.cancel();
    running.await.expect("no panic").expect("stopped");
}

/// Starts a relay for a service that has published more than fits.
async fn publish_more_than_fits(bus: &NatsBus, folder: &Folder) -> Database {
    let db = folder.database("order-service").await;
    let mut tx = db.begin().await.expect("begun");
    for number in 0..100 {
        let mut event = event("order.created", "a", number);
        event.data = json!("x".repeat(20_000));
        tx.publish_raw(event).expect("published");
    }
    tx.commit().await.expect("committed");
    let (relayed, stop) = (db.clone(), CancellationToken::new());
    let bus = Arc::new(bus.clone());
    tokio::spawn(relay::run(relayed, bus, relay::Options::default(), stop));
    db
}

async fn until_full(bus: &NatsBus) -> String {
    let mut said = String::new();
    for number in 0..1000 {
        let mut more = event("order.created", "more", number);
        more.data = json!("x".repeat(20_000));
        if let Err(error) = bus.publish(vec![more]).await {
            assert!(error.is_retryable(), "{error:?}");
            said = env::chain(&error);
            break;
        }
    }
    said
}

#[tokio::test]
async fn g2_not_lost_when_the_stream_is_full_events_wait_until_there_is_room() {
    let server = server(servers::nats::Options::default()).await;
    let url = format!("{}&max_bytes=1000000", server.url());
    let bus = connect(&url, nats::Options::default()).await;
    let folder = Folder::new();
    let db = publish_more_than_fits(&bus, &folder).await;
    let jetstream = operator(&server).await;
    let mut stream = jetstream.get_stream("outrigger").await.expect("a stream");
    let full = async || {
        let info = stream.info().await.expect("info");
        info.state.bytes > 900_000
    };
    let mut full = full;
    while !full().await {
        env::sleep(Duration::from_millis(20)).await;
    }
    let said = until_full(&bus).await;
    assert!(said.contains("`max_bytes` is raised"), "{said}");
    let waiting = db.outbox_backlog().await.expect("counted");
    assert!(waiting > 0, "nothing waits");
    let mut config = jetstream
        .get_stream("outrigger")
        .await
        .expect("a stream")
        .cached_info()
        .config
        .clone();
    config.max_bytes = 100_000_000;
    jetstream.update_stream(config).await.expect("made larger");
    let sent = async || db.outbox_backlog().await.is_ok_and(|waiting| waiting == 0);
    eventually("everything is sent", sent).await;
    let types = ["order.*".to_owned()];
    let all = bus.subscribe("all", &types).await.expect("subscribed");
    let seen = drain(all.as_ref()).await;
    let of_the_outbox: Vec<_> = seen.into_iter().filter(|id| id.starts_with("a-")).collect();
    let expected: Vec<_> = (0..100).map(|number| format!("a-{number}")).collect();
    assert_eq!(of_the_outbox, expected);
}

#[tokio::test]
async fn g2_not_lost_when_the_store_is_full_events_wait_until_there_is_room() {
    let server = server(servers::nats::Options {
        max_store: Some(1_000_000),
        ..servers::nats::Options::default()
    })
    .await;
    let bus = connect(&server.url(), nats::Options::default()).await;
    let said = until_full(&bus).await;
    assert!(said.contains("store is full"), "{said}");
    let folder = Folder::new();
    let db = publish_more_than_fits(&bus, &folder).await;
    let jetstream = operator(&server).await;
    let stream = jetstream.get_stream("outrigger").await.expect("a stream");
    let purged = async || {
        stream.purge().await.expect("purged");
        db.outbox_backlog().await.is_ok_and(|waiting| waiting == 0)
    };
    eventually("everything is sent", purged).await;
}

#[tokio::test]
async fn a_token_is_needed_where_the_server_wants_one_and_never_printed() {
    let server = server(servers::nats::Options {
        token: Some("hidden".to_owned()),
        ..servers::nats::Options::default()
    })
    .await;
    let bus = connect(&server.url(), nats::Options::default()).await;
    publishes(&bus).await.expect("published");
    let quick = nats::Options {
        timeout: Duration::from_millis(500),
        ..nats::Options::default()
    };
    let wrong = server.url().replace("hidden@", "guessed@");
    let refused = publishes(&connect(&wrong, quick).await).await;
    let text = format!("{refused:?}");
    assert!(text.contains("refuses the user"), "{text}");
    assert!(!text.contains("guessed"), "{text}");
}

#[tokio::test]
async fn a_connection_is_encrypted_and_the_server_is_who_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| -> PathBuf {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("written");
        file
    };
    let certified = || {
        let names = vec!["localhost".to_owned()];
        rcgen::generate_simple_self_signed(names).expect("a certificate")
    };
    let (own, stranger) = (certified(), certified());
    let certificate = write("own.pem", own.cert.pem());
    let key = write("own.key", own.signing_key.serialize_pem());
    let other = write("other.pem", stranger.cert.pem());
    let server = server(servers::nats::Options {
        tls: Some((certificate.clone(), key)),
        ..servers::nats::Options::default()
    })
    .await;
    let trusting = |ca: &PathBuf| format!("{}&ca={}", server.url(), ca.display());
    let bus = connect(&trusting(&certificate), nats::Options::default()).await;
    publishes(&bus).await.expect("published");
    let quick = nats::Options {
        timeout: Duration::from_millis(500),
        ..nats::Options::default()
    };
    let refused = publishes(&connect(&trusting(&other), quick).await).await;
    let text = env::chain(&refused.expect_err("it is not who it says"));
    assert!(
        text.contains("check that it speaks TLS, and `ca`"),
        "{text}"
    );
}

/// What is written to the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// As by default: warnings.
fn listen() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn a_server_that_may_lose_something_is_warned_of_whenever_it_comes_up() {
    let (log, _listening) = listen();
    let mut server = server(servers::nats::Options::default()).await;
    server.kill().await;
    let quick = nats::Options {
        timeout: Duration::from_millis(200),
        ..nats::Options::default()
    };
    let _bus = connect(&server.url(), quick).await;
    assert!(!log.text().contains("sync"), "{}", log.text());
    server.restart().await.expect("restarted");
    let warned = async || {
        let text = log.text();
        text.contains("before they are on its disk") && text.contains("sync_interval: always")
    };
    eventually("it is warned of", warned).await;
}

#[tokio::test]
async fn a_server_of_which_nothing_can_be_seen_is_warned_of_and_every_one_is_looked_at() {
    let (log, _listening) = listen();
    let hidden = server(servers::nats::Options {
        unmonitored: true,
        ..servers::nats::Options::default()
    })
    .await;
    let durable = server(servers::nats::Options {
        sync_always: true,
        ..servers::nats::Options::default()
    })
    .await;
    let lazy = server(servers::nats::Options::default()).await;
    let [durable, lazy] = [&durable, &lazy].map(Nats::monitor_url);
    let url = format!(
        "{}?monitor={durable},{lazy},http://127.0.0.1:1",
        hidden.url()
    );
    let _bus = connect(&url, nats::Options::default()).await;
    let warned = async || {
        let text = log.text();
        text.contains("cannot be seen") && text.contains("before they are on its disk")
    };
    eventually("both are warned of", warned).await;
    let text = log.text();
    assert!(text.contains("http_port: 8222"), "{text}");
    assert!(
        !text.contains(durable.trim_start_matches("http://")),
        "{text}"
    );
}
