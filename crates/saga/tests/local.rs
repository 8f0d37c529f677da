//! Calls of the saga's own service, which are done in the transaction of its step.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use data::{Database, Migration, Transaction, params};
use events::{Bus, EmbeddedBus, Handlers, JsonSchema, consumer, relay, schemars};
use futures::{FutureExt, future::BoxFuture};
use outrigger_saga as saga;
use saga::{Command, Failure, Input, Outcome, Saga, Sagas, command};
use serde::{Deserialize, Serialize};
use servers::Postgres;
use support::{Rung, compensated, simulated};
use tempfile::{TempDir, tempdir};
use tokio_util::sync::{CancellationToken, DropGuard};

const HOUR: Duration = Duration::from_hours(1);
/// How long a saga may take, on the clock of a server too.
const PATIENCE: Duration = Duration::from_mins(1);

/// Writes a word down. What begins with `refuse` is refused then; what begins with `stumble`, `swallow` (a failure), `postpone`
/// (one), `nowhere` (it writes to), `panic` or `dawdle` does so when it is tried for the first time, and `signal` rings the saga's bell.
#[derive(Serialize, Deserialize, JsonSchema, Command)]
#[command("diary-service", "write", crate = saga)]
struct Write {
    saga: String,
    word: String,
}

/// Strikes it out, where it is written.
#[derive(Serialize, Deserialize, JsonSchema, Command)]
#[command("diary-service", "strike", crate = saga)]
struct Strike(String);

#[derive(Serialize, Deserialize)]
struct Diary {
    id: String,
    words: Vec<String>,
}

impl Input for Diary {
    const SAGA: &'static str = "diary";
}

/// Writes words one after the other, each for at most a minute; `ring` writes the next one while it waits for the bell, and
/// `nap` is a second.
async fn diary(saga: Saga, diary: Diary) -> Result<(), Failure> {
    let write = |word: String| {
        let command = Write {
            saga: diary.id.clone(),
            word: word.clone(),
        };
        let call = saga.call(command).undo(Strike(word));
        call.timeout(Duration::from_mins(1))
    };
    let mut words = diary.words.iter().cloned();
    while let Some(word) = words.next() {
        match &*word {
            "nap" => saga.sleep(Duration::from_secs(1)).await,
            "ring" => {
                let ring = saga.wait_for::<Rung>().timeout(HOUR);
                let writing = async {
                    saga.sleep(Duration::from_secs(1)).await;
                    write(words.next().unwrap()).await
                };
                futures::future::try_join(ring, writing).await?;
            }
            _ => write(word).await?,
        }
    }
    Ok(())
}

/// Handles both commands.
#[derive(Clone)]
struct Writer {
    sagas: Sagas,
    tries: Arc<AtomicU32>,
}

impl<'a> command::Handler<'a, Write> for Writer {
    type Future = BoxFuture<'a, Result<(), command::Error>>;

    fn handle(&self, tx: &'a mut Transaction, Write { saga, word }: Write) -> Self::Future {
        let Self { sagas, tries } = self.clone();
        async move {
            let (verb, _) = word.split_once(' ').unwrap_or((&word, ""));
            if verb != "nowhere" {
                note(tx, &word).await?;
            }
            let is_first = || tries.fetch_add(1, Ordering::SeqCst) == 0;
            match verb {
                "refuse" => return Err(Failure::new("no-wish", "I would rather not.").into()),
                "nowhere" if is_first() => _ = tx.execute("DELETE FROM nowhere", params![]).await?,
                "stumble" if is_first() => note(tx, &word).await?,
                "swallow" if is_first() => drop(note(tx, &word).await),
                "postpone" if is_first() => tx.execute_later(NOTE, params![word.as_str()]),
                "panic" if is_first() => panic!("what a day"),
                "dawdle" if is_first() => env::sleep(Duration::from_secs(20)).await,
                "nowhere" => note(tx, &word).await?,
                "signal" => {
                    let by = word.clone();
                    let rung = Rung { bell: saga, by };
                    // As one does who does not care: what failed is not forgotten for that.
                    drop(sagas.signal(tx, &rung.bell, &rung).await);
                }
                _ => {}
            }
            Ok(())
        }
        .boxed()
    }
}

impl<'a> command::Handler<'a, Strike> for Writer {
    type Future = BoxFuture<'a, Result<(), command::Error>>;

    fn handle(&self, tx: &'a mut Transaction, Strike(word): Strike) -> Self::Future {
        async move {
            tx.execute("DELETE FROM diary WHERE word = $1", params![word.as_str()])
                .await?;
            Ok(note(tx, &format!("no {word}")).await?)
        }
        .boxed()
    }
}

const NOTE: &str = "INSERT INTO diary (position, word)
                    VALUES ((SELECT coalesce(max(position), 0) + 1 FROM diary), $1)";

/// A word is written once.
async fn note(tx: &mut Transaction, word: &str) -> data::Result<()> {
    tx.execute(NOTE, params![word]).await?;
    Ok(())
}

/// A service with sagas that call itself.
struct Service {
    _folder: TempDir,
    db: Database,
    bus: Arc<dyn Bus>,
    sagas: Sagas,
    handlers: Handlers,
}

impl Service {
    async fn new() -> Self {
        let folder = tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("diary.sqlite").display());
        Self::on(folder, &url).await
    }

    async fn on(folder: TempDir, url: &str) -> Self {
        let db = Database::open(url).await.unwrap().owned_by("diary-service");
        let diaries = "CREATE TABLE diary (position BIGINT NOT NULL, word TEXT PRIMARY KEY)";
        db.migrate(&[Migration::new(1, "diary", diaries)])
            .await
            .unwrap();
        events::install(&db).await.unwrap();
        let bus = format!("sqlite:{}", folder.path().join("bus.sqlite").display());
        let sagas = Sagas::open(db.clone()).await.unwrap();
        sagas.register(diary);
        let writer = Writer {
            sagas: sagas.clone(),
            tries: Arc::default(),
        };
        let handlers = sagas.handlers(Handlers::new());
        let handlers = sagas.command::<Write, _>(handlers, writer.clone());
        let handlers = sagas.command::<Strike, _>(handlers, writer);
        Self {
            _folder: folder,
            db,
            bus: Arc::new(EmbeddedBus::open(&bus).await.unwrap()),
            sagas,
            handlers,
        }
    }

    /// Acts on timers, brings what is sent to the bus, and hands it to the handlers, until the guard is dropped.
    fn serve(&self) -> DropGuard {
        let stop = CancellationToken::new();
        let (db, bus, handlers) = (self.db.clone(), self.bus.clone(), self.handlers.clone());
        let stopped = stop.clone();
        tokio::spawn(async move {
            let options = consumer::Options::default();
            let consuming = consumer::run(
                db.clone(),
                bus.clone(),
                "diary-service",
                handlers,
                options,
                stopped.clone(),
            );
            let relaying = relay::run(db, bus, relay::Options::default(), stopped);
            futures::join!(consuming, relaying).0.unwrap();
        });
        self.act_on_timers(&stop);
        stop.drop_guard()
    }

    fn act_on_timers(&self, stop: &CancellationToken) {
        let (sagas, stop) = (self.sagas.clone(), stop.clone());
        tokio::spawn(async move { sagas.run_timers(stop).await });
    }

    async fn write(&self, tx: &mut Transaction, id: &str, words: &[&str]) {
        let diary = Diary {
            id: id.to_owned(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
        };
        self.sagas.start(tx, id, diary).await.unwrap();
    }

    async fn start(&self, id: &str, words: &[&str]) {
        let mut tx = self.db.begin().await.unwrap();
        self.write(&mut tx, id, words).await;
        tx.commit().await.unwrap();
    }

    async fn end(&self, id: &str) -> Outcome {
        self.sagas
            .wait(id, PATIENCE)
            .await
            .unwrap()
            .expect("an end")
    }

    async fn written(&self) -> Vec<String> {
        let all = "SELECT word FROM diary ORDER BY position";
        let rows = self.db.query(all, params![]).await.unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }

    async fn sent(&self) -> Vec<String> {
        let waiting = self.db.outbox_waiting(100).await.unwrap();
        waiting.into_iter().map(|it| it.message.topic).collect()
    }
}

/// Makes tests of functions that take a [`Service`]: `sqlite::name` with simulated time, and `postgres::name`.
macro_rules! on_each_engine {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                super::simulated(async { super::$name(super::Service::new().await).await });
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                let server = super::Postgres::start().await.unwrap();
                let url = server.database("diary").await.unwrap();
                super::$name(super::Service::on(super::tempdir().unwrap(), &url).await).await;
            })+
        }
    };
}

on_each_engine!(
    it_is_done_when_the_transaction_commits_that_starts_the_saga,
    g1_atomic_it_goes_with_the_transaction_of_its_step,
    g5_sagas_end_compensated_by_local_calls,
    what_is_done_and_what_is_sent_is_told,
    g3_once_what_fails_is_undone_alone_and_sent,
    g3_once_what_hides_its_failure_is_undone_alone_and_sent,
    g3_once_what_fails_later_is_undone_alone_and_sent,
    g3_once_what_fails_first_of_all_is_undone_alone_and_sent,
    g3_once_what_panics_is_undone_alone_and_sent,
    what_would_change_the_saga_itself_is_sent,
    a_step_makes_some_and_sends_the_others,
);

async fn it_is_done_when_the_transaction_commits_that_starts_the_saga(service: Service) {
    service.start("1", &["a", "b"]).await;
    assert_eq!(service.written().await, ["a", "b"]);
    assert_eq!(service.end("1").await, Outcome::Completed);
    assert_eq!(service.sent().await, ["diary.saga.completed"]);
    let timers = service.db.next_timer("outrigger_saga").await.unwrap();
    assert_eq!(timers, None, "nothing is to come");
}

async fn g1_atomic_it_goes_with_the_transaction_of_its_step(service: Service) {
    let mut tx = service.db.begin().await.unwrap();
    service.write(&mut tx, "1", &["a", "nap", "b"]).await;
    tx.rollback().await.unwrap();
    assert!(service.written().await.is_empty());
    service.start("1", &["a", "nap", "b"]).await;
    assert_eq!(service.written().await, ["a"]);
    let _serving = service.serve();
    assert_eq!(service.end("1").await, Outcome::Completed);
    assert_eq!(service.written().await, ["a", "b"]);
}

async fn g5_sagas_end_compensated_by_local_calls(service: Service) {
    service.start("1", &["a", "b", "refuse c", "d"]).await;
    let outcome = compensated("no-wish", "I would rather not.");
    assert_eq!(service.end("1").await, outcome);
    let written = ["refuse c", "no b", "no a"];
    assert_eq!(service.written().await, written, "a refusal commits");
}

async fn what_is_done_and_what_is_sent_is_told(service: Service) {
    let told: Arc<Mutex<Vec<_>>> = Arc::default();
    let telling = Arc::clone(&told);
    service.sagas.observe(Arc::new(move |processed| {
        assert_eq!(processed.group, "diary-service");
        let word = (processed.kind.to_owned(), processed.outcome);
        telling.lock().unwrap().push(word);
    }));
    service.start("1", &["a", "stumble b"]).await;
    let write = "saga.diary-service.write".to_owned();
    assert_eq!(
        *told.lock().unwrap(),
        [
            (write.clone(), consumer::Outcome::Handled),
            (write, consumer::Outcome::Retried),
        ]
    );
}

async fn g3_once_what_fails_is_undone_alone_and_sent(service: Service) {
    is_undone_alone_and_sent(&service, "stumble b").await;
}

async fn g3_once_what_hides_its_failure_is_undone_alone_and_sent(service: Service) {
    is_undone_alone_and_sent(&service, "swallow b").await;
}

async fn g3_once_what_fails_later_is_undone_alone_and_sent(service: Service) {
    is_undone_alone_and_sent(&service, "postpone b").await;
}

async fn g3_once_what_fails_first_of_all_is_undone_alone_and_sent(service: Service) {
    is_undone_alone_and_sent(&service, "nowhere b").await;
}

async fn g3_once_what_panics_is_undone_alone_and_sent(service: Service) {
    is_undone_alone_and_sent(&service, "panic b").await;
}

async fn is_undone_alone_and_sent(service: &Service, word: &str) {
    service.start("1", &["a", word, "c"]).await;
    assert_eq!(service.written().await, ["a"]);
    assert_eq!(service.sent().await, ["saga.diary-service.write"]);
    let _serving = service.serve();
    assert_eq!(service.end("1").await, Outcome::Completed);
    assert_eq!(service.written().await, ["a", word, "c"]);
}

async fn what_would_change_the_saga_itself_is_sent(service: Service) {
    let _serving = service.serve();
    service.start("1", &["ring", "signal a", "b"]).await;
    assert_eq!(service.end("1").await, Outcome::Completed);
    assert_eq!(service.written().await, ["signal a", "b"]);
}

async fn a_step_makes_some_and_sends_the_others(service: Service) {
    let words: Vec<_> = (10..50).map(|number| number.to_string()).collect();
    let all: Vec<_> = words.iter().map(String::as_str).collect();
    service.start("1", &all).await;
    assert_eq!(service.written().await, words[..16]);
    let _serving = service.serve();
    assert_eq!(service.end("1").await, Outcome::Completed);
    assert_eq!(service.written().await, words);
}

#[test]
fn what_takes_long_is_undone_alone_and_sent() {
    simulated(async { is_undone_alone_and_sent(&Service::new().await, "dawdle b").await });
}

#[test]
fn g4_order_an_undo_does_not_overtake_what_was_sent() {
    simulated(async {
        let service = Service::new().await;
        let stop = CancellationToken::new();
        service.act_on_timers(&stop);
        service.start("1", &["a", "stumble b"]).await;
        // Nobody takes the command that was sent: its time is over, and it has to be undone.
        let undoing = async {
            while service.sent().await.len() < 2 {
                env::sleep(Duration::from_secs(1)).await;
            }
        };
        env::timeout(HOUR, undoing).await.unwrap();
        assert_eq!(service.written().await, ["a"]);
        stop.cancel();
        let _serving = service.serve();
        let outcome = compensated(
            "timeout",
            "`saga.diary-service.write` did not answer in time.",
        );
        assert_eq!(service.end("1").await, outcome);
        assert_eq!(service.written().await, ["no stumble b", "no a"]);
    });
}

#[test]
fn what_is_called_after_the_handlers_are_gone_is_sent() {
    simulated(async {
        let mut service = Service::new().await;
        service.handlers = Handlers::new();
        service.start("1", &["a"]).await;
        assert_eq!(service.sent().await, ["saga.diary-service.write"]);
    });
}
