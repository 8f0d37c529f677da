//! G11: the same binary and seed give the same run, event for event, in every process.

use std::{collections::BTreeSet, net::SocketAddr, process::Command, time::Duration};

use axum::{Router, extract::State, routing::post};
use data::{Database, Migration, params};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use outrigger_testkit::simulation::stage::{Ended, Stage, TICK};

const PORT: u16 = 80;
const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "numbers",
    "CREATE TABLE numbers (id TEXT PRIMARY KEY, chance TEXT NOT NULL)",
)];

/// Everything that libraries are known to ask the C library, in one answer.
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these are the leaks to close"
)]
fn leaks() -> String {
    let hashed: std::collections::HashSet<u32> = (0..8).collect();
    format!(
        "{hashed:?} {:?} {:?} {}",
        std::time::SystemTime::now(),
        std::time::Instant::now(),
        rand::random::<u64>(),
    )
}

async fn remember(State(db): State<Database>, body: String) -> String {
    let mut tx = db.begin().await.expect("the writer");
    let sql = "INSERT INTO numbers VALUES ($1, hex(randomblob(8))) RETURNING chance";
    let id = env::id().to_string();
    let row = tx
        .query_one(sql, params![id])
        .await
        .expect("inserted")
        .expect("one row");
    tx.commit().await.expect("durable");
    let chance: String = row.get(0).expect("a text");
    let leaks = leaks();
    tracing::info!(body, chance, leaks, "remembered");
    format!("{body} {chance} {leaks}")
}

async fn serve(file: std::path::PathBuf) -> Ended {
    let db = Database::open(&format!("sqlite:{}", file.display())).await?;
    db.migrate(MIGRATIONS).await?;
    let app = Router::new().route("/", post(remember)).with_state(db);
    let mut listener = env::net::listen(SocketAddr::from(([0, 0, 0, 0], PORT))).await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        tracing::debug!(%peer, "accepted");
        let app = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let mut http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            http.http1().timer(TokioTimer::new());
            let served = http.serve_connection(TokioIo::new(stream), app).await;
            tracing::debug!(ok = served.is_ok(), "closed");
        });
    }
}

async fn ask(server: SocketAddr, number: usize) -> Result<String, env::BoxError> {
    let stream = env::net::connect(server).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::post("/").header("host", "server");
    let request = request.body(Full::new(bytes::Bytes::from(format!("question {number}"))))?;
    let answer = sender.send_request(request).await?;
    let date = format!("{:?}", answer.headers().get("date"));
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(format!("{} {date}", String::from_utf8_lossy(&body)))
}

async fn question(server: SocketAddr) -> Ended {
    for number in 0..40 {
        match env::timeout(Duration::from_millis(300), ask(server, number)).await {
            Ok(Ok(answer)) => tracing::info!(number, answer, "answered"),
            Ok(Err(error)) => tracing::info!(number, %error, "refused"),
            Err(_) => tracing::info!(number, "no answer"),
        }
        env::sleep(Duration::from_millis(7)).await;
    }
    Ok(())
}

/// Two users question a server, which is crashed, cut off and started again on the way.
fn run(seed: u64) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("server.sqlite");
    Stage::play(seed, None, move |stage| {
        stage.set_latency(Duration::from_millis(20));
        let server = stage.machine("server", move || serve(file.clone()));
        let server = SocketAddr::new(server, PORT);
        stage.machine("ada", move || question(server));
        stage.machine("grace", move || question(server));
        for step in 0..3_000 {
            match step {
                200 => stage.crash("server"),
                350 => stage.restart("server"),
                600 => stage.partition("ada", "server"),
                700 => stage.hold("grace", "server"),
                900 => stage.repair("ada", "server"),
                1000 => stage.release("grace", "server"),
                _ => {}
            }
            stage.step().expect("no machine fails");
        }
        assert_eq!(stage.take_panics(), Vec::<String>::new());
        assert!(
            stage.trace_entries() > 300,
            "{} entries",
            stage.trace_entries()
        );
        stage.trace_hash()
    })
    .expect("a stage")
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
#[expect(
    clippy::print_stdout,
    reason = "its answer to the process that started it"
)]
fn child() {
    let seed = std::env::var("OUTRIGGER_TEST_SEED").expect("set by the parent");
    println!("hash={}", run(seed.parse().expect("a number")));
}

fn hash_in_a_new_process(seed: u64) -> String {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env("OUTRIGGER_TEST_SEED", seed.to_string())
        .output()
        .expect("the process ran");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, rest) = text.split_once("hash=").unwrap_or_else(|| panic!("{text}"));
    rest.split_whitespace().next().expect("a hash").to_owned()
}

#[test]
fn g11_replay_same_seed_same_trace_in_every_process() {
    for seed in [1, 2, 3] {
        let first = hash_in_a_new_process(seed);
        for _ in 0..3 {
            assert_eq!(hash_in_a_new_process(seed), first, "seed {seed}");
        }
    }
}

#[test]
fn g11_replay_another_seed_is_another_run() {
    let hashes: BTreeSet<_> = (10..15).map(hash_in_a_new_process).collect();
    assert_eq!(hashes.len(), 5);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "asks what a library would ask")]
fn threads_that_do_not_simulate_keep_the_real_clock_and_chance() {
    let real = std::time::SystemTime::now();
    let simulated = Stage::play(7, None, |stage| {
        stage.machine("idle", || async { Ok(()) });
        (0..10)
            .try_for_each(|_| stage.step())
            .expect("no machine fails");
        let beside = std::thread::scope(|scope| {
            let beside = scope.spawn(|| (std::time::SystemTime::now(), rand::random::<u64>()));
            beside.join().expect("no panic")
        });
        (std::time::SystemTime::now(), stage.elapsed(), beside)
    });
    let (simulated, elapsed, (beside, chance)) = simulated.expect("a stage");
    let began = std::time::UNIX_EPOCH
        + Duration::from_secs(outrigger_testkit::simulation::interpose::EPOCH_SECONDS);
    assert_eq!(elapsed, 10 * TICK);
    assert_eq!(simulated, began + elapsed);
    assert!(beside >= real, "{beside:?}");
    assert_ne!(chance, rand::random::<u64>());
}
