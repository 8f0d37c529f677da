//! The machine that never crashes: it has what the services share, and it watches them. Of what it has, the bus crashes
//! by itself, and the registry can be away.

use std::{rc::Rc, sync::Arc, time::Duration};

use discovery::Ttl;
use env::{BoxError, config::Secret};
use events::{Bus, EmbeddedBus};
use identity::Keyring;
use outrigger::{Inspection, Settings};

use super::{
    BUS,
    broker::Broker,
    faulty_bus::{BusFaults, FaultyBus},
    oracles,
    registry::FaultyRegistry,
    run::{Run, Shared, Users},
    stage::Ended,
};
use crate::Recorder;

/// How long a token is good for: a run should see some renewed, and a clock jump past one.
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_secs(20);
/// How often what must hold at every instant is checked, if anything was committed in between.
const CHECKED_EVERY: Duration = Duration::from_millis(100);
/// After so many looks all that was opened for them is closed, for the sake of those who need a file alone.
const LOOKS: u32 = 10;
/// For how long nothing may happen before the system counts as at rest.
const QUIET: Duration = Duration::from_secs(1);
/// How long the system may take to come to rest once the users are done and all faults are over: longer than a clock
/// was ahead, for what was put off by that clock.
const REST_LIMIT: Duration = Duration::from_secs(600);

/// Shares what the others run on, then watches until the system has come to rest.
pub(super) async fn hub(run: Rc<Run>) -> Ended {
    let settings = settings(&run);
    let registry = FaultyRegistry::new(Ttl::of(settings.discovery.ttl));
    let sweeping = registry.clone();
    tokio::spawn(async move { sweeping.sweep().await });

    let broker = Broker::new();
    let (kept, url) = (broker.clone(), settings.messaging.bus.clone());
    tokio::task::spawn_local(async move {
        let open = async || EmbeddedBus::open(url.as_ref().map_or("", Secret::reveal)).await;
        kept.keep(open).await;
    });
    let recorder = Recorder::new(Arc::new(broker.clone()));
    let bus: Arc<dyn Bus> = Arc::new(recorder.clone());
    run.share(Shared {
        broker,
        recorder,
        bus: FaultyBus::new(bus, BusFaults::default()),
        registry,
        keyring: Keyring::generate(),
        settings,
    });

    run.all_started().await;
    watch(&run).await?;
    std::future::pending().await
}

/// What takes minutes on a real network takes seconds here: a run should see it happen.
fn settings(run: &Run) -> Settings {
    let mut settings = Settings {
        data: run.data.clone(),
        ..Settings::default()
    };
    for (name, disk) in &run.disks {
        let url = Secret::new(disk.url(&format!("{name}.sqlite")));
        if name == BUS {
            settings.messaging.bus = Some(url);
            continue;
        }
        let settings = settings.services.entry(name.clone()).or_default();
        settings.database = Some(url);
    }
    settings.discovery.heartbeat = Duration::from_secs(1);
    settings.discovery.ttl = Duration::from_secs(3);
    settings.security.token_lifetime = TOKEN_LIFETIME;
    settings
}

async fn watch(run: &Run) -> Result<(), BoxError> {
    let settings = settings(run);
    let mut view = Inspection::of(&run.system, &settings).await?;
    let mut glance = view.glance();
    let mut looks = 0;
    let mut deaths = run.deaths();
    let mut seen = 0;
    let mut unrest = None;
    let mut calm_since = None;
    let mut quiet_since = None;
    loop {
        env::sleep(CHECKED_EVERY).await;
        if run.deaths() != deaths {
            // What was open on a disk when its process died is dead too.
            deaths = run.deaths();
            view = Inspection::of(&run.system, &settings).await?;
            looks = 0;
        }
        if looks == 0 {
            // To open a file is to read its schema, which costs more than most looks.
            glance = view.glance();
        }
        looks = (looks + 1) % LOOKS;
        if run.seen.commits() != seen {
            seen = run.seen.commits();
            unrest = None;
            check(run, &glance, false).await;
            check_dead_letters(run, &glance).await?;
        }
        if run.users.get() != Users::Done || !run.is_calm.get() {
            continue;
        }
        let now = env::instant();
        // It is what is in the databases: nothing new there, nothing new to see.
        if unrest.is_none() {
            unrest = Some(glance.unrest().await?);
        }
        let unrest = unrest.as_deref().unwrap_or_default();
        if !unrest.is_empty() {
            quiet_since = None;
            if now - *calm_since.get_or_insert(now) > REST_LIMIT {
                let found = format!("after {REST_LIMIT:?} without faults: {}", unrest.join(", "));
                run.violated("the system comes to rest", found);
                return Ok(());
            }
        } else if now - *quiet_since.get_or_insert(now) >= QUIET {
            check(run, &glance, true).await;
            oracles::check(run, &glance).await;
            match run.system.state_of(glance).await {
                Ok(state) => _ = run.state.replace(state),
                Err(found) => run.violated("the state can be read", found),
            }
            run.at_rest.set(true);
            return Ok(());
        }
    }
}

async fn check(run: &Run, view: &Inspection, at_rest: bool) {
    for invariant in &run.invariants {
        if invariant.staleness().is_zero() != at_rest {
            run.checks.set(run.checks.get() + 1);
            if let Err(found) = invariant.check(view.clone()).await {
                run.violated(invariant.name(), found.to_string());
            }
        }
    }
}

/// Every fault of a run passes, so trying again must have helped.
async fn check_dead_letters(run: &Run, view: &Inspection) -> Result<(), BoxError> {
    for dead in view.dead_letters().await? {
        let found = format!(
            "{} could not handle {} {}: {}",
            dead.group, dead.event.kind, dead.event.id, dead.error
        );
        run.violated("no message is given up", found);
    }
    Ok(())
}
