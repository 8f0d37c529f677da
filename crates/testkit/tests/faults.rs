//! Each fault does what its name says, as the machines that it befalls see it.

mod small;

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use data::{Database, Migration, params};
use outrigger_testkit::{
    disk::{self, Disk, Odds},
    simulation::{
        Fault, Faults, Hazard, Report, Schedule, Simulation,
        fault::Kind,
        stage::{Ended, Stage},
    },
};
use small::Publishing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 80;
const MESSAGE: &[u8] = b"a message that is long enough to have a middle";

type Heard = Rc<RefCell<Vec<(Duration, Vec<u8>)>>>;

/// Says [`MESSAGE`] in a connection of its own every 100 ms.
async fn speak(hearer: SocketAddr) -> Ended {
    loop {
        if let Ok(mut stream) = env::net::connect(hearer).await {
            let _ = stream.write_all(MESSAGE).await;
            let _ = stream.flush().await;
        }
        env::sleep(Duration::from_millis(100)).await;
    }
}

async fn hear(heard: Heard, began: env::Instant) -> Ended {
    let mut listener = env::net::listen(SocketAddr::from(([0, 0, 0, 0], PORT))).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let heard = Rc::clone(&heard);
        tokio::task::spawn_local(async move {
            let mut message = Vec::new();
            let _ = stream.read_to_end(&mut message).await;
            heard.borrow_mut().push((env::instant() - began, message));
        });
    }
}

/// Lets time pass until the stage was set so many milliseconds ago.
fn until(stage: &mut Stage, ms: u64) {
    while stage.elapsed() < Duration::from_millis(ms) {
        stage.step().expect("no machine fails");
    }
}

/// What is heard in a second, while `fault` is done to the stage after 450 ms and undone after 750 ms.
fn heard_in_a_second(begin: fn(&mut Stage), end: fn(&mut Stage)) -> Vec<(Duration, Vec<u8>)> {
    Stage::play(1, None, |stage| {
        stage.set_latency(Duration::from_millis(2));
        let heard = Heard::default();
        let (list, began) = (Rc::clone(&heard), env::instant());
        let hearer = stage.machine("hearer", move || hear(Rc::clone(&list), began));
        let hearer = SocketAddr::new(hearer, PORT);
        stage.machine("speaker", move || speak(hearer));
        until(stage, 450);
        begin(stage);
        until(stage, 750);
        end(stage);
        until(stage, 1_000);
        heard.take()
    })
    .expect("a stage")
}

fn during((at, _): &(Duration, Vec<u8>)) -> bool {
    (450..750).contains(&at.as_millis())
}

#[test]
fn without_a_fault_everything_is_heard_whole() {
    let heard = heard_in_a_second(|_| {}, |_| {});
    assert_eq!(heard.len(), 10);
    assert!(heard.iter().all(|(_, message)| message == MESSAGE));
}

#[test]
fn a_one_way_partition_silences_one_side_until_it_is_repaired() {
    let heard = heard_in_a_second(
        |stage| stage.partition_oneway("speaker", "hearer"),
        |stage| stage.repair("speaker", "hearer"),
    );
    assert_eq!(heard.iter().filter(|heard| during(heard)).count(), 0);
    assert!(
        heard.iter().any(|(at, _)| at.as_millis() >= 750),
        "{heard:?}"
    );
}

#[test]
fn a_reset_cuts_one_message_in_its_middle() {
    let heard = heard_in_a_second(
        |stage| stage.set_cutting("speaker", "hearer", true),
        |stage| stage.set_cutting("speaker", "hearer", false),
    );
    let cut: Vec<_> = heard
        .iter()
        .filter(|(_, message)| message != MESSAGE)
        .collect();
    assert_eq!(cut.len(), 1, "{heard:?}");
    assert_eq!(cut[0].1, MESSAGE[..MESSAGE.len() / 2]);
}

#[test]
fn what_is_cut_of_a_message_with_a_head_is_its_body() {
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nhost: hearer\r\n\r\n";
    let network = Stage::play(1, None, |stage| {
        let heard = Heard::default();
        let (list, began) = (Rc::clone(&heard), env::instant());
        let hearer = stage.machine("hearer", move || hear(Rc::clone(&list), began));
        let hearer = SocketAddr::new(hearer, PORT);
        stage.machine("speaker", move || async move {
            for message in [HEAD.to_vec(), [HEAD, b"12345678"].concat()] {
                let mut stream = env::net::connect(hearer).await?;
                let _ = stream.write_all(&message).await;
                env::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        });
        stage.set_cutting("speaker", "hearer", true);
        until(stage, 500);
        heard.take()
    });
    let heard: Vec<_> = network
        .expect("a stage")
        .into_iter()
        .map(|(_, message)| message)
        .collect();
    assert_eq!(heard, [HEAD.to_vec(), [HEAD, b"1234"].concat()]);
}

#[test]
fn a_slow_link_brings_everything_later() {
    let heard = heard_in_a_second(
        |stage| {
            let slow = Duration::from_millis(120);
            stage.set_link_latency("speaker", "hearer", slow, slow);
        },
        |_| {},
    );
    assert!(heard.len() < 10 && heard.len() > 4, "{heard:?}");
    assert!(heard.iter().all(|(_, message)| message == MESSAGE));
}

#[test]
fn loss_loses_some() {
    let heard = heard_in_a_second(
        |stage| stage.set_loss("speaker", "hearer", 1.0),
        |stage| stage.set_loss("speaker", "hearer", 0.0),
    );
    assert_eq!(heard.iter().filter(|heard| during(heard)).count(), 0);
    assert!(
        heard.iter().any(|(at, _)| at.as_millis() >= 750),
        "{heard:?}"
    );
}

#[test]
fn a_clock_is_wrong_on_its_machine_only_and_comes_right_again() {
    let shown = Stage::play(1, None, |stage| {
        let shown = Rc::new(RefCell::new(Vec::new()));
        for machine in ["early", "right"] {
            let list = Rc::clone(&shown);
            stage.machine(machine, move || {
                let list = Rc::clone(&list);
                async move {
                    for _ in 0..3 {
                        env::sleep(Duration::from_millis(100)).await;
                        list.borrow_mut().push((machine, env::now()));
                    }
                    Ok(())
                }
            });
        }
        until(stage, 150);
        stage.set_clock("early", -60_000);
        until(stage, 250);
        stage.set_clock("early", 0);
        until(stage, 400);
        shown.take()
    });
    let mut shown = shown.expect("a stage");
    shown.sort_by_key(|(machine, _)| *machine);
    let late: Vec<_> = (0..3)
        .map(|number| (shown[number + 3].1.as_second()) - shown[number].1.as_second())
        .collect();
    assert_eq!(late, [0, 60, 0]);
}

const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "numbers",
    "CREATE TABLE numbers (number INTEGER PRIMARY KEY)",
)];

/// Commits one number after the other, all at the same instant.
async fn count(url: String) -> Ended {
    let db = Database::open(&url).await?;
    db.migrate(MIGRATIONS).await?;
    env::sleep(Duration::from_millis(100)).await;
    for number in 1..=5 {
        commit(&db, number).await?;
    }
    std::future::pending().await
}

async fn commit(db: &Database, number: i64) -> data::Result<()> {
    let mut tx = db.begin().await?;
    tx.execute("INSERT INTO numbers VALUES ($1)", params![number])
        .await?;
    tx.commit().await
}

async fn how_many(url: String, there: Rc<Cell<i64>>) -> Ended {
    let db = Database::open(&url).await?;
    let row = db
        .query_one("SELECT count(*) FROM numbers", params![])
        .await?;
    there.set(row.ok_or("no row")?.get(0)?);
    Ok(())
}

/// How many numbers are there when `die` ends the process.
fn counted(seed: u64, die: impl Fn(&mut Stage) + Sync) -> i64 {
    Stage::play(seed, None, |stage| {
        let disk = Disk::new(seed).expect("a disk");
        let url = disk.url("counter.sqlite");
        stage.set_disk("counter", disk);
        let path = url.clone();
        stage.machine("counter", move || count(path.clone()));
        until(stage, 50);
        die(stage);
        until(stage, 200);
        let there = Rc::new(Cell::new(0));
        let shared = Rc::clone(&there);
        stage.machine("reader", move || how_many(url.clone(), Rc::clone(&shared)));
        until(stage, 250);
        there.get()
    })
    .expect("a stage")
}

#[test]
fn a_process_dies_between_two_steps_that_are_at_the_same_instant() {
    // The first step is the instant before a commit, the second the one after it.
    let there = (0..=10).map(|steps| counted(1, move |stage| stage.crash_after("counter", steps)));
    assert_eq!(there.collect::<Vec<_>>(), [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
}

#[test]
fn what_was_committed_survives_a_loss_of_power() {
    for seed in 0..20 {
        let die = |steps| move |stage: &mut Stage| stage.lose_power_after("counter", steps);
        let there: Vec<_> = (0..=10).map(|steps| counted(seed, die(steps))).collect();
        assert_eq!(there, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], "seed {seed}");
    }
}

/// Commits a number every 10 ms, whatever became of the one before, and notes those that were durable.
async fn go_on(url: String, durable: Rc<RefCell<Vec<i64>>>) -> Ended {
    let db = Database::open(&url).await?;
    db.migrate(MIGRATIONS).await?;
    for number in 1.. {
        env::sleep(Duration::from_millis(10)).await;
        if commit(&db, number).await.is_ok() {
            durable.borrow_mut().push(number);
        }
    }
    Ok(())
}

#[test]
fn a_disk_that_is_full_or_does_not_sync_takes_nothing_until_it_is_well() {
    let full = disk::Faults {
        capacity: Some(0),
        ..disk::Faults::default()
    };
    let failing = disk::Faults {
        sync_fails: Odds::Always,
        ..disk::Faults::default()
    };
    for faults in [full, failing] {
        let durable = Stage::play(1, None, |stage| {
            let disk = Disk::new(1).expect("a disk");
            let (url, durable) = (disk.url("numbers.sqlite"), Rc::default());
            stage.set_disk("writer", disk);
            let noted = Rc::clone(&durable);
            stage.machine("writer", move || go_on(url.clone(), Rc::clone(&noted)));
            until(stage, 100);
            stage.set_disk_faults("writer", faults.clone());
            until(stage, 200);
            stage.set_disk_faults("writer", disk::Faults::default());
            until(stage, 300);
            durable.take()
        });
        let durable = durable.expect("a stage");
        let within =
            |range: std::ops::Range<i64>| durable.iter().filter(|it| range.contains(it)).count();
        assert_eq!((within(0..9), within(11..20)), (8, 0), "{durable:?}");
        assert!(within(21..30) > 5, "{durable:?}");
    }
}

fn schedule_of(seed: u64, faults: Faults) -> Schedule {
    let system = small::system(Publishing::InTheTransaction);
    let report = Simulation::of(system).seed(seed).faults(faults).run();
    report.expect("it runs").schedule
}

#[test]
fn a_schedule_follows_from_the_seed_and_is_a_value() {
    let storm = || Faults::storm().lasting(Duration::from_secs(1));
    let drawn = schedule_of(5, storm());
    assert!(drawn.faults.len() > 3, "{drawn:?}");
    assert_eq!(schedule_of(5, storm()), drawn);
    assert_ne!(schedule_of(6, storm()), drawn);
    let json = serde_json::to_string(&drawn).expect("JSON");
    let read: Schedule = serde_json::from_str(&json).expect("a schedule");
    assert_eq!(read, drawn);
}

#[test]
fn most_faults_are_short_and_some_outlast_every_limit() {
    let schedule = schedule_of(1, Faults::none().rate(Hazard::Reset, 100.0));
    let long = |least: u64| {
        let least = Duration::from_secs(least);
        let lengths = schedule.faults.iter().map(|fault| fault.until - fault.from);
        lengths.filter(|length| *length > least).count()
    };
    assert!((3..20).contains(&long(3)), "{}", long(3));
    assert!(long(30) > 0, "longer than a call of a saga may take");
    assert_eq!(long(60), 0);
}

/// What a run finds in which nothing else goes wrong than this, between 300 ms and 4 s.
fn run_with(kind: Kind) -> Report {
    let fault = Fault {
        from: Duration::from_millis(300),
        until: Duration::from_secs(4),
        kind,
    };
    let faults = vec![fault];
    let system = small::system(Publishing::InTheTransaction);
    let simulation = Simulation::of(system).schedule(Schedule { faults });
    let report = simulation.timeline().run().expect("it runs");
    assert_eq!(report.violations, [], "{report}");
    assert!(report.events["count.made"] > 30, "{report}");
    report
}

/// The time at which something is said for the first time, since the beginning.
fn said(report: &Report, text: &str) -> Duration {
    let timeline = report.timeline.as_ref().expect("one is kept");
    let entry = timeline.entries().find(|entry| entry.text.contains(text));
    entry
        .unwrap_or_else(|| panic!("nobody says {text}: {timeline}"))
        .at
}

#[test]
fn a_machine_that_takes_no_step_dies_soon_all_the_same_and_is_away_until_the_end() {
    let report = run_with(Kind::Crash {
        machine: "counter-service".to_owned(),
        after_steps: u32::MAX,
    });
    let begun = said(&report, "begins:");
    assert_eq!(
        said(&report, "takes no step, and dies") - begun,
        Duration::from_millis(200)
    );
    assert_eq!(said(&report, "over:") - begun, Duration::from_millis(3_700));
    assert_eq!(report.reached["process died"], 1);
}

#[test]
fn a_gateway_that_dies_is_there_again() {
    let report = run_with(Kind::Crash {
        machine: "gateway".to_owned(),
        after_steps: 0,
    });
    assert_eq!(report.reached["process died"], 1);
}

#[test]
fn g10_closed_a_service_for_which_every_token_has_expired_answers_401_and_that_passes() {
    let report = run_with(Kind::Clock {
        machine: "counter-service".to_owned(),
        ahead_ms: 55_000,
    });
    assert!(report.reached["token expired"] > 3, "{report}");
}

#[test]
fn g2_not_lost_the_bus_dies_and_loses_its_power() {
    for loses_power in [false, true] {
        let report = run_with(Kind::BusCrash { loses_power });
        assert_eq!(report.reached["bus died"], 1);
        // What is not seen to be handled cannot be seen to be handled twice.
        assert!(report.reached["event handled"] > 0, "{report}");
    }
}

#[test]
fn one_service_that_cannot_reach_the_bus_catches_up() {
    let machine = "tally-service".to_owned();
    let report = run_with(Kind::BusPartition { machine });
    said(&report, "the bus gives no events");
}

#[test]
fn who_is_known_is_found_while_the_registry_is_away() {
    let report = run_with(Kind::RegistryDown);
    said(&report, "the registry does not answer");
}

#[test]
fn a_rate_is_how_many_there_are() {
    let is_reset = |kind: &Kind| matches!(kind, Kind::Reset { .. });
    let schedule = schedule_of(1, Faults::none().rate(Hazard::Reset, 3.0));
    assert_eq!(schedule.faults.len(), 3, "{schedule:?}");
    assert!(schedule.faults.iter().all(|fault| is_reset(&fault.kind)));
    assert_eq!(schedule_of(1, Faults::none()), Schedule::default());
}

#[test]
fn of_a_schedule_some_places_can_be_kept() {
    let system = || Simulation::of(small::system(Publishing::InTheTransaction)).seed(5);
    let some = system().only([0, 2]).run().expect("it runs").schedule;
    assert_eq!(some.faults.len(), 2);
    let given = system().schedule(some.clone()).run().expect("it runs");
    assert_eq!(given.schedule, some);
}
