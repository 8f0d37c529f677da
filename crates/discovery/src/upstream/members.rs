//! The instances of a service, with what is known of the calls to each, and which of them takes the next.
//!
//! To look at them and to pick one takes no lock and allocates nothing, unless they changed.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use env::Instant;
use resilience::{
    Breaker,
    breaker::{self, State},
    observe::{Decision, Observer, Reporter},
};
use tokio::sync::watch;

use super::{
    Settings,
    condition::{Condition, Ended},
    protected,
    vitals::{Census, Vitals},
};
use crate::{
    Instance,
    balance::{Candidate, Key, Picker, Strategy, luck, maglev::Table},
    outlier::{self, Tally},
    registry::Instances,
};

/// An instance, with what is known of the calls to it.
pub(super) struct Member {
    pub(super) instance: Arc<Instance>,
    pub(super) breaker: Breaker,
    pub(super) condition: Arc<Condition>,
    /// Relative to the heaviest.
    weight: f64,
    warm_up: Duration,
}

impl Member {
    /// Whether nothing speaks against it that comparison or asking has shown.
    fn is_well(&self, now: Instant) -> bool {
        !self.condition.is_unhealthy() && !self.condition.is_ejected(now)
    }
}

impl Candidate for Arc<Member> {
    fn in_flight(&self) -> usize {
        self.condition.in_flight()
    }

    fn latency(&self, now: Instant) -> Option<f64> {
        self.condition.latency(now)
    }

    fn weight(&self) -> f64 {
        self.weight
    }

    fn warmth(&self, now: Instant) -> f64 {
        self.condition.warmth(self.warm_up, now)
    }
}

/// The members as they are known at a time.
pub(super) struct Pool {
    watched: watch::Receiver<Instances>,
    pub(super) instances: Instances,
    /// Those in the zone of the caller first.
    pub(super) members: Vec<Arc<Member>>,
    /// So many are in the zone of the caller.
    near: usize,
    table: Option<Table>,
    vitals: Vitals,
}

impl Pool {
    fn is_outdated(&self) -> bool {
        // A registry that is gone has nothing new to say; what it said last stays.
        let gone = |_| !self.watched.borrow().is_same(&self.instances);
        self.watched.has_changed().unwrap_or_else(gone)
    }
}

/// See the [module](self).
pub(super) struct Members {
    settings: Settings,
    picker: Picker,
    pool: ArcSwap<Pool>,
    changing: Mutex<()>,
    service: Arc<str>,
    observer: Option<Arc<dyn Observer>>,
    origin: Instant,
    /// When failures are compared next, in milliseconds since the origin.
    judged: AtomicU64,
}

impl Members {
    pub(super) fn new(
        service: &str,
        watched: watch::Receiver<Instances>,
        settings: Settings,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let origin = env::instant();
        let members = Self {
            picker: Picker::new(settings.strategy),
            settings,
            pool: ArcSwap::from_pointee(Pool {
                watched,
                instances: Instances::default(),
                members: Vec::new(),
                near: 0,
                table: None,
                vitals: Vitals::new(origin),
            }),
            changing: Mutex::new(()),
            service: service.into(),
            observer,
            origin,
            judged: AtomicU64::new(0),
        };
        members.change();
        members
    }

    /// The same members under other `settings`: what was learned of them stays, and their breakers if theirs do.
    pub(super) fn under(&self, settings: Settings) -> Self {
        let known = self.now();
        let origin = env::instant();
        let own = |member: &Arc<Member>| {
            let reporter = member.condition.reporter().clone();
            let breakers = (&self.settings.breaker, &settings.breaker);
            Arc::new(Member {
                instance: Arc::clone(&member.instance),
                breaker: kept(&member.breaker, breakers, reporter),
                condition: Arc::clone(&member.condition),
                weight: member.weight,
                warm_up: settings.warm_up,
            })
        };
        let members = Self {
            picker: Picker::new(settings.strategy),
            pool: ArcSwap::from_pointee(Pool {
                watched: known.watched.clone(),
                instances: known.instances.clone(),
                members: known.members.iter().map(own).collect(),
                near: 0,
                table: None,
                vitals: Vitals::new(origin),
            }),
            settings,
            changing: Mutex::new(()),
            service: Arc::clone(&self.service),
            observer: self.observer.clone(),
            origin,
            judged: AtomicU64::new(0),
        };
        members.change();
        members
    }

    /// The members as they are now; who waits meanwhile should hold them as an `Arc`.
    pub(super) fn now(&self) -> Guard<Arc<Pool>> {
        let pool = self.pool.load();
        if !pool.is_outdated() {
            return pool;
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.pool.load().is_outdated() {
            self.change();
        }
        self.pool.load()
    }

    /// The members, once the registry has said which there are; as they are now, where it does not say so for `patience`.
    pub(super) async fn known(&self, patience: Duration) -> Arc<Pool> {
        let pool = Guard::into_inner(self.now());
        if pool.instances.is_known() {
            return pool;
        }
        let mut watched = pool.watched.clone();
        // Neither patience that ends nor a registry that is gone tells more than is known.
        let _ = env::timeout(patience, watched.wait_for(Instances::is_known)).await;
        Guard::into_inner(self.now())
    }

    /// One that takes a call; none of those at the addresses to `avoid`. `breaker` says whether the breakers count.
    pub(super) fn pick(
        &self,
        pool: &Pool,
        key: Option<Key>,
        avoid: &[SocketAddr],
        breaker: bool,
    ) -> Option<usize> {
        let now = env::instant();
        let members = &pool.members;
        let found = pool.vitals.at(now, || self.census(pool, now));
        let takes = |index: usize| {
            let member = &members[index];
            !member.instance.draining
                && (found.panics || member.is_well(now))
                && (!breaker || member.breaker.is_available_at(|| now))
                && !avoid.contains(&member.instance.address)
        };
        let all = || {
            self.picker
                .pick(members, pool.table.as_ref(), key, now, takes)
        };
        // Where the key decides, the zone does not.
        if pool.near == 0 || pool.near == members.len() || pool.table.is_some() {
            return all();
        }
        let (near, far) = members.split_at(pool.near);
        let picked = if luck(found.near) {
            self.picker.pick(near, None, key, now, takes)
        } else {
            let takes = |index: usize| takes(pool.near + index);
            let far = self.picker.pick(far, None, key, now, takes);
            far.map(|index| pool.near + index)
        };
        picked.or_else(all)
    }

    fn census(&self, pool: &Pool, now: Instant) -> Census {
        let well = |member: &&Arc<Member>| {
            !member.instance.draining
                && member.is_well(now)
                && member.breaker.is_available_at(|| now)
        };
        let staying = pool.members.iter().filter(|one| !one.instance.draining);
        let healthy = staying.clone().filter(|member| member.is_well(now));
        let outlier = self.settings.outlier.unwrap_or_default();
        Census {
            near: (
                pool.members[..pool.near].iter().filter(well).count(),
                pool.near,
            ),
            panics: outlier.panics(healthy.count(), staying.count()),
        }
    }

    /// A call to `member` ended so, after this time.
    pub(super) fn ended(&self, member: &Member, how: Ended, took: Duration) {
        let now = env::instant();
        let row = member.condition.count(how, took, now);
        let Some(outlier) = &self.settings.outlier else {
            return;
        };
        if row >= outlier.consecutive.max(1) {
            self.eject(&[member], outlier, now);
        }
        let millis = now.saturating_duration_since(self.origin).as_millis() as u64;
        let due = self.judged.load(Ordering::Relaxed);
        if millis < due {
            return;
        }
        let next = millis + outlier.interval.as_millis() as u64;
        let order = Ordering::Relaxed;
        // One of those who see that it is due compares.
        if self
            .judged
            .compare_exchange(due, next, order, order)
            .is_ok()
            && due != 0
        {
            self.judge(outlier, now);
        }
    }

    /// Compares the failures of all, and ejects those that stand out.
    fn judge(&self, outlier: &outlier::Settings, now: Instant) {
        let pool = self.pool.load();
        let tallies: Vec<_> = pool
            .members
            .iter()
            .map(|member| (member, member.condition.take_tally()))
            .collect();
        let all = tallies
            .iter()
            .fold(Tally::default(), |all, (_, tally)| all.plus(*tally));
        let mut standing_out = Vec::new();
        for (member, tally) in &tallies {
            if outlier.stands_out(*tally, all.minus(*tally)) {
                standing_out.push(&***member);
            } else if tally.failures == 0 && !member.condition.is_ejected(now) {
                member.condition.make_good();
            }
        }
        self.eject(&standing_out, outlier, now);
    }

    /// Leaves them out, as long as not too many are.
    fn eject(&self, outliers: &[&Member], outlier: &outlier::Settings, now: Instant) {
        // Who counts the ejected and who adds to them must be one.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = self.pool.load();
        let is_ejected = |member: &&Arc<Member>| member.condition.is_ejected(now);
        let mut ejected = pool.members.iter().filter(is_ejected).count();
        for member in outliers {
            let condition = &member.condition;
            if condition.is_ejected(now) || !outlier.may_eject(ejected, pool.members.len()) {
                continue;
            }
            let length = outlier.length(condition.ejections());
            condition.eject(now, length);
            ejected += 1;
            let instance = condition.reporter().name();
            tracing::warn!(instance, ?length, "left out, for it fails more than others");
            condition.reporter().report(Decision::Ejected { length });
        }
        pool.vitals.changed();
    }

    /// One was asked for its health.
    pub(super) fn probed(&self, member: &Member, well: bool) {
        let Some(health) = &self.settings.health else {
            return;
        };
        if member.condition.probed(well, health, env::instant()) {
            let instance = member.condition.reporter().name();
            tracing::warn!(instance, healthy = well, "its health has changed");
            self.pool.load().vitals.changed();
        }
    }

    fn change(&self) {
        let known = self.pool.load();
        // Who comes when there is nobody else takes all calls anyway.
        let cold = !known.members.is_empty();
        let mut watched = known.watched.clone();
        let instances = watched.borrow_and_update().clone();
        let heaviest = instances.iter().map(|instance| instance.weight).max();
        let heaviest = heaviest.unwrap_or(1).max(1);
        let zone = self.settings.zone.as_deref();
        let is_near = |instance: &Arc<Instance>| zone.is_some() && instance.zone.as_deref() == zone;
        let (near, far): (Vec<_>, Vec<_>) = instances.iter().partition(|one| is_near(one));
        let members: Vec<_> = near
            .iter()
            .chain(&far)
            .map(|instance| Arc::new(self.member(instance, heaviest, &known.members, cold)))
            .collect();
        let near = near.len();
        let hashed = self.settings.strategy == Strategy::ConsistentHash;
        let names = members
            .iter()
            .map(|member| (member.instance.id.as_str(), member.instance.weight));
        let table = hashed.then(|| Table::new(names)).flatten();
        self.pool.store(Arc::new(Pool {
            watched,
            instances,
            near,
            members,
            table,
            vitals: Vitals::new(self.origin),
        }));
    }

    /// What was learned of an instance stays for as long as it stays where it is.
    fn member(
        &self,
        instance: &Arc<Instance>,
        heaviest: u32,
        known: &[Arc<Member>],
        cold: bool,
    ) -> Member {
        let same = |member: &&Arc<Member>| {
            member.instance.id == instance.id && member.instance.address == instance.address
        };
        let (breaker, condition) = match known.iter().find(same) {
            Some(member) => (member.breaker.clone(), Arc::clone(&member.condition)),
            None => {
                let name = protected::instance(&self.service, instance.address);
                let reporter = reporter(&name, self.observer.as_ref());
                let breaker = Breaker::reporting(self.settings.breaker.clone(), reporter.clone());
                let condition = Condition::new(env::instant(), cold, reporter);
                (breaker, Arc::new(condition))
            }
        };
        Member {
            instance: Arc::clone(instance),
            breaker,
            condition,
            weight: f64::from(instance.weight.max(1)) / f64::from(heaviest),
            warm_up: self.settings.warm_up,
        }
    }
}

/// What tells `observer`, if there is one, of what protects `name`.
pub(super) fn reporter(name: &str, observer: Option<&Arc<dyn Observer>>) -> Reporter {
    match observer {
        Some(observer) => Reporter::new(name, Arc::clone(observer)),
        None => Reporter::silent(name),
    }
}

/// The same breaker, or a closed one where its settings are no longer the same.
pub(super) fn kept(
    breaker: &Breaker,
    (before, now): (&breaker::Settings, &breaker::Settings),
    reporter: Reporter,
) -> Breaker {
    if before == now {
        return breaker.clone();
    }
    let from = breaker.state();
    if from != State::Closed {
        let to = State::Closed;
        reporter.report(Decision::BreakerChanged { from, to });
    }
    Breaker::reporting(now.clone(), reporter)
}
