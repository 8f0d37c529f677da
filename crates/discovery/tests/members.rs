//! Which instances are in rotation, against a plain model: who comes, drains and goes, who is left out by comparison and
//! for how long, and when nobody is; and how much a new one gets. Time and sockets are the test's.

mod server;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    future::ready,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use env::{
    Instant, Timestamp,
    net::{DynIo, DynListener},
    world::{self, World},
};
use futures::future::BoxFuture;
use outrigger_discovery::{
    Clients, InProcess, Instance, Policy, Registry, Settings, Ttl, Upstream, balance, outlier,
};
use proptest::prelude::*;
use server::SERVICE;

/// Machines that all answer as they are told, and say which was asked.
struct Machines {
    told: Told,
    chance: Cell<u64>,
}

type Told = Arc<Mutex<(StatusCode, Option<u16>)>>;

impl World for Machines {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let next = self.chance.get().wrapping_mul(6_364_136_223_846_793_005);
            self.chance.set(next.wrapping_add(1));
            *byte = (next >> 56) as u8;
        }
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<DynListener>> {
        Box::pin(ready(Err(io::ErrorKind::AddrInUse.into())))
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<DynIo>> {
        let told = Arc::clone(&self.told);
        let answer = move || {
            let mut told = told.lock().expect("unpoisoned");
            told.1 = Some(address.port());
            ready(told.0)
        };
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(server::answer(far, Router::new().fallback(answer)));
        Box::pin(ready(Ok(Box::new(near) as DynIo)))
    }

    fn local_address(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A call that is answered so.
    Call(Outcome),
    Wait(Duration),
    Join(u16),
    Drain(u16),
    Leave(u16),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Well,
    Badly,
    /// It fails, and breaks no row: there is too much to do.
    Refused,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Well),
        3 => Just(Outcome::Badly),
        1 => Just(Outcome::Refused),
    ];
    let port = 1..6_u16;
    prop_oneof![
        12 => outcome.prop_map(Step::Call),
        // Longer than the state of the pool is thought to last.
        3 => (200..4_000_u64).prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
        2 => port.clone().prop_map(Step::Join),
        1 => port.clone().prop_map(Step::Drain),
        1 => port.prop_map(Step::Leave),
    ]
}

fn settings() -> impl Strategy<Value = outlier::Settings> {
    (1..4_u32, 0.1..0.6, 1..4_u32, 0.0..=1.0, 0.0..=1.0).prop_map(
        |(consecutive, margin, calls, most, panic)| outlier::Settings {
            consecutive,
            margin,
            calls,
            interval: Duration::from_secs(3),
            base: Duration::from_secs(2),
            longest: Duration::from_secs(5),
            most,
            panic,
        },
    )
}

/// What is known of an instance.
#[derive(Default)]
struct Seen {
    draining: bool,
    /// Bad answers in a row.
    row: u32,
    /// Since they were compared.
    calls: u32,
    failures: u32,
    /// When it is back.
    back: Option<Instant>,
    /// How often it was left out, less what it has made good.
    ejections: u32,
}

/// The rules, by a list of the instances and a clock.
struct Model {
    settings: outlier::Settings,
    seen: BTreeMap<u16, Seen>,
    compared_next: Option<Instant>,
}

impl Model {
    fn is_ejected(seen: &Seen, now: Instant) -> bool {
        seen.back.is_some_and(|back| now < back)
    }

    /// Those that a call may go to.
    fn in_rotation(&self, now: Instant) -> BTreeSet<u16> {
        let staying = || self.seen.iter().filter(|(_, seen)| !seen.draining);
        let well = || staying().filter(|(_, seen)| !Self::is_ejected(seen, now));
        let all = staying().count() as f64;
        let ports = |(port, _): (&u16, &Seen)| *port;
        match (well().count() as f64) < self.settings.panic * all {
            true => staying().map(ports).collect(),
            false => well().map(ports).collect(),
        }
    }

    fn called(&mut self, port: u16, outcome: Outcome, now: Instant) {
        let seen = self.seen.get_mut(&port).expect("it is there");
        seen.calls += 1;
        seen.failures += u32::from(outcome != Outcome::Well);
        seen.row = if outcome == Outcome::Badly {
            seen.row + 1
        } else {
            0
        };
        if seen.row >= self.settings.consecutive {
            self.eject(port, now);
        }
        match self.compared_next {
            Some(due) if now < due => return,
            Some(_) => self.compare(now),
            None => {}
        }
        self.compared_next = Some(now + self.settings.interval);
    }

    fn compare(&mut self, now: Instant) {
        let all = self.seen.values().fold((0, 0), |(calls, failures), seen| {
            (calls + seen.calls, failures + seen.failures)
        });
        let rate = |calls: u32, failures: u32| f64::from(failures) / f64::from(calls);
        let mut outliers = Vec::new();
        for (port, seen) in &mut self.seen {
            let others = (all.0 - seen.calls, all.1 - seen.failures);
            let enough = seen.calls.min(others.0) >= self.settings.calls;
            let margin = || rate(seen.calls, seen.failures) - rate(others.0, others.1);
            if seen.failures > 0 && enough && margin() >= self.settings.margin {
                outliers.push(*port);
            } else if seen.failures == 0 && !Self::is_ejected(seen, now) {
                seen.ejections = seen.ejections.saturating_sub(1);
            }
        }
        outliers.into_iter().for_each(|port| self.eject(port, now));
        for seen in self.seen.values_mut() {
            (seen.calls, seen.failures) = (0, 0);
        }
    }

    fn eject(&mut self, port: u16, now: Instant) {
        let ejected = self
            .seen
            .values()
            .filter(|seen| Self::is_ejected(seen, now));
        let one_more = (ejected.count() + 1) as f64 / self.seen.len() as f64;
        let settings = self.settings;
        let seen = self.seen.get_mut(&port).expect("it is there");
        if Self::is_ejected(seen, now) || one_more > settings.most {
            return;
        }
        seen.ejections += 1;
        seen.back = Some(now + settings.longest.min(settings.base * seen.ejections));
        seen.row = 0;
    }
}

fn instance(port: u16) -> Instance {
    let mut instance = Instance::new(SERVICE, ([10, 0, 0, 1], port).into());
    instance.id = port.to_string();
    instance
}

/// One after the other, so that whoever is in rotation has its turn; and nothing but the comparison leaves anybody out.
fn one_after_the_other(outlier: outlier::Settings) -> Settings {
    Settings {
        strategy: balance::Strategy::RoundRobin,
        service_breaker: None,
        outlier: Some(outlier),
        warm_up: Duration::ZERO,
        policy: Policy {
            retry: None,
            breaker: false,
            ..Policy::default()
        },
        ..Settings::default()
    }
}

/// Calls; which instance was asked, if one was.
async fn call(upstream: &Upstream, told: &Told, outcome: Outcome) -> Option<u16> {
    let status = match outcome {
        Outcome::Well => StatusCode::OK,
        Outcome::Badly => StatusCode::INTERNAL_SERVER_ERROR,
        Outcome::Refused => StatusCode::TOO_MANY_REQUESTS,
    };
    *told.lock().expect("unpoisoned") = (status, None);
    let request = Request::get("/").body(Body::empty()).expect("a request");
    let answer = upstream.send(request).await;
    let asked = told.lock().expect("unpoisoned").1;
    assert_eq!(answer.is_ok(), asked.is_some(), "{answer:?}");
    asked
}

async fn follow(settings: outlier::Settings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let told = Told::default();
    let machines = Machines {
        told: Arc::clone(&told),
        chance: Cell::new(1),
    };
    let _entered = world::enter(Rc::new(machines));
    let registry = InProcess::new(Ttl::default());
    let clients = Clients::with_settings(
        Arc::new(registry.clone()),
        None,
        one_after_the_other(settings),
    );
    let upstream = clients.upstream(SERVICE);
    let mut model = Model {
        settings,
        seen: BTreeMap::new(),
        compared_next: None,
    };
    for step in steps {
        let now = env::instant();
        match step {
            Step::Wait(time) => tokio::time::advance(time).await,
            Step::Join(port) => {
                registry.register(instance(port)).await.expect("registered");
                model.seen.entry(port).or_default().draining = false;
            }
            Step::Drain(port) => {
                if let Some(seen) = model.seen.get_mut(&port) {
                    let draining = instance(port).draining();
                    registry.register(draining).await.expect("registered");
                    seen.draining = true;
                }
            }
            Step::Leave(port) => {
                registry.deregister(&port.to_string()).await.expect("gone");
                model.seen.remove(&port);
            }
            Step::Call(outcome) => {
                let rotation = model.in_rotation(now);
                let asked = call(&upstream, &told, outcome).await;
                prop_assert_eq!(env::instant(), now, "a call takes no time here");
                prop_assert_eq!(asked.is_some(), !rotation.is_empty());
                if let Some(port) = asked {
                    prop_assert!(rotation.contains(&port), "{port} is out of rotation");
                    model.called(port, outcome, now);
                }
            }
        }
        // The change is seen, and everybody who is in rotation has a turn.
        prop_assert_eq!(upstream.is_known(), !model.seen.is_empty());
        let turns = model.seen.iter().filter_map(|_| upstream.pick(None));
        let picked: BTreeSet<_> = turns.map(|picked| picked.address.port()).collect();
        prop_assert_eq!(picked, model.in_rotation(env::instant()));
    }
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

proptest! {
    #[test]
    fn g7_rotation_is_as_the_rules_say(
        settings in settings(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        runtime().block_on(follow(settings, steps))?;
    }

    /// A new one gets a share of its turns that grows with its age, from a tenth to all of them.
    #[test]
    fn a_new_one_gets_as_much_as_it_has_warmed_up(warm_up in 1..60_u64, age in 0..90_u64) {
        runtime().block_on(async {
            let settings = Settings {
                strategy: balance::Strategy::Random,
                warm_up: Duration::from_secs(warm_up),
                ..Settings::default()
            };
            let registry = InProcess::new(Ttl::default());
            let clients = Clients::with_settings(Arc::new(registry.clone()), None, settings);
            let upstream = clients.upstream(SERVICE);
            for port in [1, 2] {
                registry.register(instance(port)).await.expect("registered");
                prop_assert!(upstream.is_known());
            }
            tokio::time::advance(Duration::from_secs(age)).await;
            let picks = (0..4_000).filter_map(|_| upstream.pick(None));
            let new = picks.filter(|picked| picked.address.port() == 2).count();
            let warmth = (age as f64 / warm_up as f64).clamp(0.1, 1.0);
            let expected = warmth / (1.0 + warmth);
            let share = new as f64 / 4_000.0;
            prop_assert!((share - expected).abs() < 0.05, "{share}, not {expected}");
            Ok(())
        })?;
    }
}
