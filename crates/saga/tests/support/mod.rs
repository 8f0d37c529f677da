//! A small system for tests: a service with sagas, one that takes part in them, and a bus between them, in one folder.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test file uses what it needs"
)]

mod hesitant;
mod world;

use std::{path::Path, sync::Arc, time::Duration};

use data::{Database, Migration, Transaction, params};
use events::{
    Bus, CloudEvent, EmbeddedBus, Event, Handlers, JsonSchema, Publish, consumer, relay, schemars,
};
use outrigger_saga as saga;
use saga::{Command, Failure, Input, Outcome, Saga, Sagas, State, command};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use hesitant::Hesitant;
pub(crate) use world::simulated;

pub(crate) const STARTER: &str = "order-service";
pub(crate) const WORKER: &str = "work-service";
const HOUR: Duration = Duration::from_hours(1);

/// Does something, according to its name: what begins with `refuse` is refused, with `fail` fails always.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Command)]
#[command("work-service", "do", reply = u32, crate = saga)]
pub(crate) struct Do(pub(crate) String);

/// Takes it back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Command)]
#[command("work-service", "undo", crate = saga)]
pub(crate) struct Undo(pub(crate) String);

/// What sagas wait for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Event)]
#[event("bell.rung", version = 1, key = bell, crate = events)]
pub(crate) struct Rung {
    pub(crate) bell: String,
    pub(crate) by: String,
}

/// Things to do, one after the other. Some words have a meaning: `sleep` is an hour, `nap` a second, `ring` waits for
/// the saga's bell (and then does what rang it), `glance` too, but does not care if it does not ring, `pivot` is the point of no return, `deadline` gives it a minute;
/// `child a b` is a saga of its own that does `a` and then `b`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Errand(pub(crate) Vec<String>);

impl Errand {
    pub(crate) fn of(steps: &[&str]) -> Self {
        Self(steps.iter().map(|&step| step.to_owned()).collect())
    }
}

impl Input for Errand {
    const SAGA: &'static str = "errand";
}

pub(crate) async fn errand(saga: Saga, errand: Errand) -> Result<(), Failure> {
    for name in errand.0 {
        match name.split_once(' ').unwrap_or((&name, "")) {
            ("sleep", _) => saga.sleep(HOUR).await,
            ("nap", _) => saga.sleep(Duration::from_secs(1)).await,
            ("pivot", _) => saga.point_of_no_return(),
            ("deadline", _) => saga.deadline(Duration::from_mins(1)),
            // Waits for an hour, by a clock of its own.
            ("glance", _) => {
                let wait = saga.wait_for::<Rung>();
                futures::future::select(wait, saga.sleep(HOUR)).await;
            }
            ("ring", _) => {
                let rung = saga.wait_for::<Rung>().timeout(HOUR).await?;
                act(&saga, rung.by).await?;
            }
            ("child", steps) => {
                let steps: Vec<&str> = steps.split(' ').collect();
                saga.child(Errand::of(&steps)).await?;
            }
            _ => act(&saga, name).await?,
        }
    }
    Ok(())
}

async fn act(saga: &Saga, name: String) -> Result<(), Failure> {
    let undo = Undo(name.clone());
    let count = saga.call(Do(name)).undo(undo).await?;
    assert!(count > 0);
    Ok(())
}

/// Writes down what is done, and answers how much that is by now.
async fn work(tx: &mut Transaction, Do(name): Do) -> Result<u32, command::Error> {
    if name.starts_with("fail") {
        return Err("it always fails".into());
    }
    let verb = if name.starts_with("refuse") {
        "refused"
    } else {
        "did"
    };
    log(tx, verb, &name).await?;
    if verb == "refused" {
        return Err(Failure::new("no-wish", format!("I would rather not {name}.")).into());
    }
    let count = tx.query_one("SELECT count(*) FROM log", params![]).await?;
    Ok(count.expect("a count").get(0)?)
}

async fn undo(tx: &mut Transaction, Undo(name): Undo) -> Result<(), command::Error> {
    if name.starts_with("stubborn") {
        return Err("it is never undone".into());
    }
    let find = "SELECT 1 FROM log WHERE entry = $1";
    let was_done = tx.query_one(find, params![format!("did {name}")]).await?;
    if was_done.is_some() {
        log(tx, "undid", &name).await?;
    }
    Ok(())
}

async fn log(tx: &mut Transaction, verb: &str, name: &str) -> data::Result<()> {
    let insert = "INSERT INTO log (entry) VALUES ($1)";
    tx.execute(insert, params![format!("{verb} {name}")])
        .await?;
    Ok(())
}

/// Everything that a process holds; what it wrote stays in the folder when this is dropped.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) starter: Database,
    pub(crate) worker: Database,
    pub(crate) sagas: Sagas,
}

impl Process {
    /// Starts, on what is in `folder`, knowing the saga `errand`.
    pub(crate) async fn open(folder: &Path) -> Self {
        let process = Self::knowing_nothing(folder).await;
        process.sagas.register(errand);
        process
    }

    /// Starts without any saga.
    pub(crate) async fn knowing_nothing(folder: &Path) -> Self {
        let url = |name: &str| format!("sqlite:{}.sqlite", folder.join(name).display());
        Self::with(folder, &url(STARTER), &url(WORKER)).await
    }

    /// Starts on these two databases, with a bus in `folder`.
    pub(crate) async fn on(folder: &Path, starter: &str, worker: &str) -> Self {
        let process = Self::with(folder, starter, worker).await;
        process.sagas.register(errand);
        process
    }

    async fn with(folder: &Path, starter: &str, worker: &str) -> Self {
        let bus = format!("sqlite:{}", folder.join("bus.sqlite").display());
        let bus = EmbeddedBus::open(&bus).await.expect("a bus");
        let open = async |url: &str, name: &str| {
            let db = Database::open(url).await;
            db.expect("a database").owned_by(name)
        };
        let (starter, worker) = (open(starter, STARTER).await, open(worker, WORKER).await);
        let log = Migration::new(
            1,
            "log",
            "CREATE TABLE log (position INTEGER PRIMARY KEY, entry TEXT NOT NULL)",
        )
        .postgres(
            "CREATE TABLE log (position BIGINT GENERATED ALWAYS AS IDENTITY, entry TEXT NOT NULL)",
        );
        worker.migrate(&[log]).await.expect("the log");
        for db in [&starter, &worker] {
            events::install(db).await.expect("the tables of events");
        }
        let sagas = Sagas::open(starter.clone()).await.expect("sagas");
        Self {
            bus: Arc::new(Hesitant(bus)),
            starter,
            worker,
            sagas,
        }
    }

    /// Does all that its services do, until it is stopped or dropped.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let commands = Handlers::new();
        let commands = command::handle::<Do, _>(commands, work);
        let commands = command::handle::<Undo, _>(commands, undo);
        self.serve_with(commands, stop).await;
    }

    /// The same, with other handlers of commands.
    pub(crate) async fn serve_with(self, commands: Handlers, stop: CancellationToken) {
        let Self {
            bus,
            starter,
            worker,
            sagas,
        } = self;
        let consume = |db: &Database, group, handlers| {
            let options = consumer::Options::default();
            consumer::run(
                db.clone(),
                bus.clone(),
                group,
                handlers,
                options,
                stop.clone(),
            )
        };
        let replies = sagas.handlers(Handlers::new());
        let replies = sagas.signal_handler(replies, |rung: &Rung| rung.bell.clone());
        let (_, _, _, left, right) = futures::join!(
            relay::run(
                starter.clone(),
                bus.clone(),
                relay::Options::default(),
                stop.clone()
            ),
            relay::run(
                worker.clone(),
                bus.clone(),
                relay::Options::default(),
                stop.clone()
            ),
            sagas.run_timers(stop.clone()),
            consume(&starter, STARTER, replies),
            consume(&worker, WORKER, commands),
        );
        left.expect("consumed");
        right.expect("consumed");
    }

    /// Serves in the background until the guard is dropped.
    pub(crate) fn spawn(&self) -> tokio_util::sync::DropGuard {
        let stop = CancellationToken::new();
        tokio::spawn(self.clone().serve(stop.clone()));
        stop.drop_guard()
    }

    /// Acts on timers, and brings what is in the outbox to the bus, until the guard is dropped.
    pub(crate) fn spawn_timers(&self) -> tokio_util::sync::DropGuard {
        let stop = CancellationToken::new();
        let (sagas, timing) = (self.sagas.clone(), stop.clone());
        tokio::spawn(async move { sagas.run_timers(timing).await });
        stop.drop_guard()
    }

    pub(crate) async fn start(&self, id: &str, steps: &[&str]) {
        let mut tx = self.starter.begin().await.expect("a transaction");
        let started = self.sagas.start(&mut tx, id, Errand::of(steps)).await;
        started.expect("started");
        tx.commit().await.expect("committed");
    }

    /// Rings a bell, as an event from another service.
    pub(crate) async fn ring(&self, bell: &str, by: &str) {
        let (bell, by) = (bell.to_owned(), by.to_owned());
        let mut tx = self.worker.begin().await.expect("a transaction");
        tx.publish(Rung { bell, by }).expect("an event");
        tx.commit().await.expect("committed");
    }

    /// Waits until the saga is in a state.
    pub(crate) async fn until(&self, id: &str, state: State) {
        let reached = async {
            while self
                .sagas
                .status(id)
                .await
                .expect("a status")
                .map(|saga| saga.state)
                != Some(state)
            {
                env::sleep(Duration::from_millis(100)).await;
            }
        };
        let reached = env::timeout(HOUR, reached).await;
        reached.unwrap_or_else(|_| panic!("{id} is never {state}"));
    }

    /// Waits for the end, at most for ten hours (of the simulated clock).
    pub(crate) async fn end(&self, id: &str) -> Outcome {
        let outcome = self.sagas.wait(id, HOUR * 10).await.expect("the saga");
        outcome.expect("an end")
    }

    /// What the worker did.
    pub(crate) async fn log(&self) -> Vec<String> {
        let all = "SELECT entry FROM log ORDER BY position";
        let rows = self.worker.query(all, params![]).await.expect("the log");
        rows.iter()
            .map(|row| row.get(0).expect("an entry"))
            .collect()
    }
}

pub(crate) fn compensated(code: &str, detail: &str) -> Outcome {
    Outcome::Compensated(Failure::new(code, detail))
}

/// Every event of these types, as they come.
pub(crate) fn listen(process: &Process, patterns: &[&str]) -> mpsc::UnboundedReceiver<CloudEvent> {
    let (heard, events) = mpsc::unbounded_channel();
    let handlers = patterns.iter().fold(Handlers::new(), |handlers, pattern| {
        handlers.on_raw(pattern, Listener(heard.clone()))
    });
    let (db, bus) = (process.worker.clone(), process.bus.clone());
    let options = consumer::Options::default();
    tokio::spawn(async move {
        let stop = CancellationToken::new();
        consumer::run(db, bus, "listener", handlers, options, stop).await
    });
    events
}

struct Listener(mpsc::UnboundedSender<CloudEvent>);

impl<'a> events::Handler<'a, CloudEvent> for Listener {
    type Future = std::future::Ready<Result<(), env::BoxError>>;

    fn handle(&self, _: &'a mut Transaction, event: CloudEvent) -> Self::Future {
        self.0.send(event).expect("the test listens");
        std::future::ready(Ok(()))
    }
}
