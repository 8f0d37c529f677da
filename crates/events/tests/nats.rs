//! The bus on NATS, with a private real server: what every bus does, and what is its own.

mod conformance;
mod support;

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use conformance::order::any_step;
use env::Severity;
use events::{Bus, CloudEvent, Error, NatsBus, Subscription, nats};
use outrigger_events as events;
use proptest::{
    collection,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, TestRng, TestRunner},
};
use serde_json::json;
use servers::Nats;
use support::{drain, event, eventually, gather, ids, take};
use tokio::io::AsyncWriteExt;

/// So many partitions that the few keys of these tests have one each.
fn options() -> nats::Options {
    nats::Options {
        partitions: Some(64),
        lease: Duration::from_secs(2),
        ..nats::Options::default()
    }
}

async fn server(options: servers::nats::Options) -> Nats {
    support::real_time();
    Nats::start(options).await.expect("a server")
}

async fn plain() -> Nats {
    server(servers::nats::Options::default()).await
}

async fn connect(server: &Nats) -> Arc<dyn Bus> {
    let bus = NatsBus::connect(&server.url(), options()).await;
    Arc::new(bus.expect("a bus"))
}

async fn join(bus: &Arc<dyn Bus>) -> Box<dyn Subscription> {
    conformance::join(bus, "orders", &["order.*"]).await
}

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            let server = plain().await;
            conformance::$name(connect(&server).await).await;
        })*
    };
}

conformance::every_promise!(conforms);

#[tokio::test]
async fn g2_not_lost_when_the_bus_restarts() {
    let server = plain().await;
    conformance::g2_not_lost_when_the_bus_restarts(async || connect(&server).await).await;
}

#[tokio::test]
async fn g4_ordered_and_g2_not_lost_whatever_happens() {
    let algorithm = Config::default().rng_algorithm;
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(algorithm));
    for _ in 0..3 {
        let steps = collection::vec(any_step(), 30..40).new_tree(&mut runner);
        let steps = steps.expect("steps").current();
        let server = plain().await;
        let bus = connect(&server).await;
        conformance::order::g4_ordered_and_g2_not_lost_whatever_happens(bus, steps).await;
    }
}

fn split(id: &str) -> (String, u32) {
    let (key, number) = id.split_once('-').expect("key-number");
    (key.to_owned(), number.parse().expect("a number"))
}

/// What handlers behind an inbox would see: the first delivery of each id, by key, in order.
#[derive(Default)]
struct Seen(Mutex<BTreeMap<String, Vec<u32>>>);

impl Seen {
    fn note(&self, event: &CloudEvent) {
        let (key, number) = split(&event.id);
        let mut seen = self.0.lock().expect("no panic");
        let numbers = seen.entry(key).or_default();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }

    fn count(&self) -> usize {
        let seen = self.0.lock().expect("no panic");
        seen.values().map(Vec::len).sum()
    }

    fn assert_in_order(&self) {
        for (key, numbers) in &*self.0.lock().expect("no panic") {
            assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        }
    }
}

/// Handles what `bus` has for the group until it is aborted.
fn handle(bus: Arc<dyn Bus>, seen: &Arc<Seen>) -> tokio::task::JoinHandle<usize> {
    let seen = Arc::clone(seen);
    tokio::spawn(async move {
        let orders = join(&bus).await;
        let mut handled = 0;
        while seen.count() < 1000 {
            let next = tokio::time::timeout(Duration::from_millis(200), orders.next(8));
            for delivery in next.await.into_iter().flatten().flatten() {
                tokio::task::yield_now().await;
                seen.note(&delivery.event);
                orders.ack(&delivery).await.expect("acknowledged");
                handled += 1;
            }
        }
        handled
    })
}

/// 1,000 events of 10 keys in batches; a batch that fails is published again, as the relay does.
async fn publish_all(bus: &Arc<dyn Bus>) {
    for first in (0..100).step_by(10) {
        let numbers = first..first + 10;
        let batch: Vec<_> = numbers
            .flat_map(|number| {
                (0..10).map(move |key| event("order.created", &format!("k{key}"), number))
            })
            .collect();
        eventually("the batch is taken", async || {
            bus.publish(batch.clone()).await.is_ok()
        })
        .await;
    }
}

#[tokio::test]
async fn g4_ordered_across_replicas_that_share_the_work() {
    let server = plain().await;
    let seen = Arc::new(Seen::default());
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(handle(connect(&server).await, &seen));
    }
    publish_all(&connect(&server).await).await;
    eventually("all is handled", async || seen.count() == 1000).await;
    seen.assert_in_order();
    for replica in replicas {
        let handled = replica.await.expect("no panic");
        assert!(
            handled > 50,
            "one of three replicas handled {handled} of 1000"
        );
    }
}

/// The server is killed again and again; what it has acknowledged is delivered, in order (with `sync_interval: always`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g2_not_lost_and_g4_ordered_when_the_server_is_killed_under_load() {
    let mut server = server(servers::nats::Options {
        sync_always: true,
        ..servers::nats::Options::default()
    })
    .await;
    let bus = connect(&server).await;
    let seen = Arc::new(Seen::default());
    let handler = handle(Arc::clone(&bus), &seen);
    let publisher = tokio::spawn(async move { publish_all(&bus).await });
    for _ in 0..4 {
        let before = seen.count();
        eventually("some more is handled", async || {
            seen.count() >= (before + 50).min(1000)
        })
        .await;
        server.kill().await;
        server.restart().await.expect("restarted");
    }
    publisher.await.expect("published");
    eventually("all is handled", async || seen.count() == 1000).await;
    seen.assert_in_order();
    handler.await.expect("no panic");
}

/// A process that dies gives nothing back: its lease runs out.
#[tokio::test]
async fn g2_not_lost_when_a_process_dies() {
    let server = plain().await;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let url = server.url();
    let dying = runtime.spawn(async move {
        let bus = NatsBus::connect(&url, options()).await.expect("a bus");
        let bus: Arc<dyn Bus> = Arc::new(bus);
        bus.publish(vec![event("order.created", "a", 1)])
            .await
            .expect("published");
        let orders = join(&bus).await;
        let taken = take(orders.as_ref(), 1).await;
        (bus, orders, taken)
    });
    let (_bus, orders, taken) = dying.await.expect("taken");
    assert_eq!(ids(&taken), ["a-1"]);
    // With it end the tasks that would prolong the lease or give it back.
    runtime.shutdown_background();
    let bus = connect(&server).await;
    let again = gather(join(&bus).await.as_ref(), 1).await;
    assert_eq!((ids(&again), again[0].attempt), (vec!["a-1"], 2));
    drop(orders);
}

#[tokio::test]
async fn a_lease_is_kept_while_a_handler_works() {
    let server = plain().await;
    let bus = connect(&server).await;
    let (first, second) = (join(&bus).await, join(&bus).await);
    bus.publish(vec![event("order.created", "a", 1)])
        .await
        .expect("published");
    let taken = take(first.as_ref(), 1).await;
    // Twice as long as the lease.
    let stolen = tokio::time::timeout(Duration::from_secs(4), second.next(1)).await;
    assert!(stolen.is_err(), "{stolen:?}");
    first.ack(&taken[0]).await.expect("acknowledged");
    support::nothing(second.as_ref()).await;
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_waited_for() {
    let mut server = plain().await;
    server.kill().await;
    let quick = nats::Options {
        timeout: Duration::from_millis(300),
        ..options()
    };
    let bus = NatsBus::connect(&server.url(), quick)
        .await
        .expect("no error yet");
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let published = bus.publish(vec![event("order.created", "a", 1)]).await;
    let error = published.expect_err("nobody is there");
    assert!(error.is_retryable(), "{error:?}");
    let joined = bus.subscribe("orders", &["order.*".to_owned()]).await;
    assert!(joined.is_err_and(|error| error.is_retryable()));
    server.restart().await.expect("restarted");
    let one = || vec![event("order.created", "a", 1)];
    eventually("it is there", async || bus.publish(one()).await.is_ok()).await;
    assert_eq!(drain(join(&bus).await.as_ref()).await, ["a-1"]);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_named_with_the_limit() {
    let server = server(servers::nats::Options {
        max_payload: Some(4096),
        ..servers::nats::Options::default()
    })
    .await;
    let bus = connect(&server).await;
    let mut large = event("order.created", "a", 1);
    large.data = json!("x".repeat(5000));
    let refused = bus
        .publish(vec![event("order.created", "b", 1), large])
        .await;
    let Err(Error::TooLarge {
        id, size, limit, ..
    }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((id.as_str(), limit), ("a-1", 4096));
    assert!(size > 5000, "{size}");
    // Nothing of the batch was sent.
    support::nothing(join(&bus).await.as_ref()).await;
}

#[tokio::test]
async fn a_user_is_needed_where_the_server_wants_one_and_never_printed() {
    let server = server(servers::nats::Options {
        user: Some(("shop".to_owned(), "hidden".to_owned())),
        ..servers::nats::Options::default()
    })
    .await;
    let bus = connect(&server).await;
    bus.publish(vec![event("order.created", "a", 1)])
        .await
        .expect("published");

    let quick = nats::Options {
        timeout: Duration::from_millis(500),
        ..options()
    };
    let wrong = server.url().replace("shop:hidden@", "shop:other@");
    let bus = NatsBus::connect(&wrong, quick).await.expect("no error yet");
    let refused = bus.publish(vec![event("order.created", "a", 1)]).await;
    let text = format!("{refused:?}");
    assert!(text.contains("refuses the user"), "{text}");
    assert!(!text.contains("other"), "{text}");
}

/// What greets as an old server does.
#[tokio::test]
async fn a_server_that_is_too_old_is_refused_with_the_version_that_is_needed() {
    let any = "127.0.0.1:0".parse().expect("an address");
    let mut listener = env::net::listen(any).await.expect("listens");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let greeting = concat!(
                r#"INFO {"server_id":"X","version":"2.9.10","proto":1,"headers":true,"#,
                r#""max_payload":1048576,"jetstream":true}"#,
                "\r\nPONG\r\n"
            );
            _ = stream.write_all(greeting.as_bytes()).await;
            tokio::spawn(async move {
                let _open = stream;
                std::future::pending::<()>().await;
            });
        }
    });
    let refused = NatsBus::connect(&format!("nats://{address}"), options())
        .await
        .err();
    let text = refused.expect("refused").to_string();
    assert!(
        text.contains("2.9.10") && text.contains("2.10 or later"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stream_that_breaks_a_guarantee_is_refused_and_not_changed() {
    let server = plain().await;
    connect(&server).await;
    let other = nats::Options {
        partitions: Some(8),
        ..options()
    };
    let refused = NatsBus::connect(&server.url(), other)
        .await
        .err()
        .expect("refused");
    let text = refused.to_string();
    assert!(text.contains("it has 64 partitions, not 8"), "{text}");
    // Who does not say how many takes what there is.
    let any = nats::Options {
        partitions: None,
        ..options()
    };
    NatsBus::connect(&server.url(), any).await.expect("a bus");
}

/// A client that is no Rust: Python's standard library on the plain protocol.
#[tokio::test]
async fn another_language_reads_and_publishes_cloudevents() {
    let server = plain().await;
    let bus = connect(&server).await;
    let mut published = event("order.created", "a", 1);
    published
        .extensions
        .insert("note".to_owned(), json!("50 % of Œuvres"));
    bus.publish(vec![published]).await.expect("published");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nats/client.py");
    let python = tokio::process::Command::new("python3")
        .args([script, &server.address().to_string()])
        .stdout(Stdio::piped())
        .output();
    let output = python.await.expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let read: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(read["id"], "a-1");
    assert_eq!(read["type"], "order.created");
    assert_eq!(read["note"], "50 % of Œuvres");
    assert_eq!(read["data"], json!({ "key": "a", "number": 1 }));

    let taken = gather(join(&bus).await.as_ref(), 2).await;
    assert_eq!(ids(&taken), ["a-1", "python-1"]);
    let event = &taken[1].event;
    assert_eq!((event.kind.as_str(), event.key()), ("order.paid", "größe"));
    assert_eq!(event.data, json!({ "paid": true }));
}

/// What is no CloudEvent harms nobody behind it.
#[tokio::test]
async fn a_message_that_is_no_event_is_left_out() {
    let server = plain().await;
    let bus = connect(&server).await;
    let mut stream = env::net::connect(server.address())
        .await
        .expect("connected");
    let text = "CONNECT {\"verbose\":false,\"headers\":true}\r\nPUB outrigger.44.order.created 4\r\n{no}\r\nPING\r\n";
    stream.write_all(text.as_bytes()).await.expect("sent");
    let orders = join(&bus).await;
    // The same partition.
    eventually("both are taken", async || {
        bus.publish(vec![event("order.created", "a", 1)])
            .await
            .is_ok()
    })
    .await;
    assert_eq!(drain(orders.as_ref()).await, ["a-1"]);
}

/// What is sent again overlaps what is there and what is not, and goes on behind it.
#[tokio::test]
async fn g4_ordered_a_batch_that_is_known_in_part_goes_on_where_it_ended() {
    let server = plain().await;
    let bus = connect(&server).await;
    let batch = |numbers: std::ops::Range<u32>| {
        let events = numbers.map(|number| event("order.created", "a", number));
        events.collect::<Vec<_>>()
    };
    for numbers in [0..20, 10..40, 0..40, 40..44] {
        bus.publish(batch(numbers)).await.expect("published");
    }
    let expected: Vec<_> = (0..44).map(|number| format!("a-{number}")).collect();
    assert_eq!(drain(join(&bus).await.as_ref()).await, expected);
}

/// So that it costs few syncs, and not one for each event.
#[tokio::test]
async fn a_batch_goes_to_the_server_as_a_whole() {
    let server = plain().await;
    let bus = connect(&server).await;
    let batch = (0..20).map(|number| event("order.created", "a", number));
    bus.publish(batch.collect()).await.expect("published");
    let client = async_nats::connect(server.address().to_string()).await;
    let jetstream = async_nats::jetstream::new(client.expect("a client"));
    let stream = jetstream.get_stream("outrigger").await.expect("the stream");
    let mut batches = Vec::new();
    for sequence in 1..=20 {
        let message = stream.get_raw_message(sequence).await.expect("a message");
        let id = message
            .headers
            .get("Nats-Batch-Id")
            .map(ToString::to_string);
        batches.push(id.expect("it came in a batch"));
    }
    batches.dedup();
    assert_eq!(batches.len(), 1, "{batches:?}");
}

async fn severity_of_sync(server: &Nats) -> (Severity, String) {
    let findings = nats::check(&server.url(), options()).await.expect("a look");
    let sync = findings.into_iter().find(|it| it.subject.ends_with("sync"));
    let sync = sync.expect("a finding about sync");
    (sync.severity, sync.advice)
}

#[tokio::test]
async fn a_check_says_whether_the_server_syncs_before_it_acknowledges() {
    let lazy = plain().await;
    let (severity, advice) = severity_of_sync(&lazy).await;
    assert_eq!(severity, Severity::Warning);
    assert!(advice.contains("sync_interval: always"), "{advice}");
    let durable = server(servers::nats::Options {
        sync_always: true,
        ..servers::nats::Options::default()
    })
    .await;
    assert_eq!(severity_of_sync(&durable).await.0, Severity::Fine);
}

#[tokio::test]
async fn a_check_of_a_server_that_is_away_is_an_error_and_makes_no_stream() {
    let mut server = plain().await;
    let findings = nats::check(&server.url(), options()).await.expect("a look");
    let absent = findings.iter().find(|it| it.subject.contains("stream"));
    assert_eq!(absent.expect("a finding").found, "there is none");
    server.kill().await;
    let quick = nats::Options {
        timeout: Duration::from_millis(300),
        ..options()
    };
    let findings = nats::check(&server.url(), quick).await.expect("a look");
    assert_eq!(findings[0].severity, Severity::Error);
}
