//! G6: what writers and readers of the event store see at the same time, through crashes, some order explains.

use std::{
    cell::{Cell, RefCell},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use data::Database;
use env::world::{Effect, Moment, survives};
use outrigger::eventsourcing::{self, Aggregate, Append, Expected, Store};
use outrigger_testkit::{
    history::{
        History,
        streams::{self, Answer, Call},
    },
    simulation::stage::{Ended, Stage},
};
use rand::{RngExt, seq::IndexedRandom};
use serde::{Deserialize, Serialize};

const STREAMS: [&str; 2] = ["left", "right"];
const CLIENTS: usize = 4;

#[derive(Default)]
struct Shelf;

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum Change {
    Put(u64),
}

impl Aggregate for Shelf {
    const KIND: &'static str = "shelf";
    type Event = Change;
    fn apply(&mut self, _: &Change) {}
}

type Seen = History<(&'static str, Call), Answer>;

#[derive(Clone, Default)]
struct Shared {
    history: Rc<RefCell<Seen>>,
    /// Events are known by their numbers, in every life of the process.
    last: Rc<Cell<u64>>,
}

impl Shared {
    fn number(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }
}

/// Reads or appends, again and again, and writes down what it asked and what it heard. What fails otherwise than by a
/// conflict has no answer: nobody knows.
async fn client(db: Database, shared: Shared) -> Ended {
    let store = Store::new(db.clone());
    let mut version = 0;
    loop {
        let mut chance = env::random();
        let pause = Duration::from_millis(chance.random_range(0..12));
        let stream = *STREAMS.choose(&mut chance).ok_or("no stream")?;
        let is_read = chance.random_bool(0.4);
        env::sleep(pause).await;
        let (call, answer) = if is_read {
            let call = shared.history.borrow_mut().called((stream, Call::Read));
            let answer = store
                .events::<Shelf>(stream, 1, 1_000)
                .await
                .ok()
                .map(|recorded| {
                    let events = recorded
                        .iter()
                        .filter_map(|event| event.read::<Shelf>().ok().flatten());
                    Answer::Events(events.map(|Change::Put(number)| number).collect())
                });
            if let Some(Answer::Events(events)) = &answer {
                version = events.len() as u64;
            }
            (call, answer)
        } else {
            let events: Vec<_> = (0..chance.random_range(1..=2))
                .map(|_| shared.number())
                .collect();
            let expected = streams::Expected::Version(version);
            let asked = Call::Append {
                expected,
                events: events.clone(),
            };
            let call = shared.history.borrow_mut().called((stream, asked));
            (call, append(&db, stream, version, events).await)
        };
        // To hear an answer is a step too, and the process may die before it.
        let is_heard = survives(Moment::After, Effect::Acknowledge);
        if let Some(answer) = answer.filter(|_| is_heard) {
            shared.history.borrow_mut().answered(call, answer);
        }
    }
}

async fn append(db: &Database, stream: &str, version: u64, events: Vec<u64>) -> Option<Answer> {
    let changes: Vec<_> = events.into_iter().map(Change::Put).collect();
    let mut tx = db.begin().await.ok()?;
    match tx
        .append::<Shelf>(stream, Expected::Version(version), &changes)
        .await
    {
        Ok(version) => {
            // Others may come in between here and the commit.
            tokio::task::yield_now().await;
            tx.commit().await.ok()?;
            Some(Answer::Appended(version))
        }
        Err(error) if error.is_conflict() => Some(Answer::Conflict),
        Err(_) => None,
    }
}

async fn process(file: PathBuf, shared: Shared) -> Ended {
    let db = Database::open(&format!("sqlite:{}", file.display())).await?;
    eventsourcing::install(&db).await?;
    let clients = (0..CLIENTS).map(|_| client(db.clone(), shared.clone()));
    futures::future::try_join_all(clients).await?;
    Ok(())
}

/// What was seen in a run of `seed`, in which the process is killed four times between two of its steps.
fn seen(seed: u64) -> Seen {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shelf.sqlite");
    Stage::play(seed, None, |stage| {
        let shared = Shared::default();
        let (path, own) = (file.clone(), shared.clone());
        stage.machine("shelf", move || process(path.clone(), own.clone()));
        for life in 0..5 {
            for step in 0..60 {
                if step == 40 && life < 4 {
                    stage.crash_after("shelf", env::random().random_range(0..9));
                }
                stage.step().expect("no machine fails");
            }
            stage.restart("shelf");
        }
        shared.history.take()
    })
    .expect("a stage")
}

#[test]
fn g6_streams_are_linearizable_through_concurrent_writers_and_crashes() {
    let (mut appended, mut refused, mut unknown, mut read) = (0, 0, 0, 0);
    for seed in 0..20 {
        let history = seen(seed);
        streams::check(&history).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        for operation in history.operations() {
            match operation.answer {
                Some((Answer::Appended(_), _)) => appended += 1,
                Some((Answer::Conflict, _)) => refused += 1,
                Some((Answer::Events(_), _)) => read += 1,
                None => unknown += 1,
            }
        }
    }
    // Otherwise it would show nothing.
    let counts = format!("{appended} appended, {refused} refused, {read} read, {unknown} unknown");
    assert!(
        appended > 100 && refused > 100 && read > 100 && unknown > 10,
        "{counts}"
    );
}
