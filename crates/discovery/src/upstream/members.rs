//! The instances of a service, with what is known of the calls to each.
//!
//! To look at them takes no lock and allocates nothing, unless they changed.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use resilience::{Breaker, breaker};
use tokio::sync::watch;

use super::call::Flight;
use crate::{Instance, registry::Instances};

/// An instance, with what is known of the calls to it.
pub(super) struct Member {
    pub(super) instance: Arc<Instance>,
    pub(super) breaker: Breaker,
    in_flight: Arc<AtomicUsize>,
}

impl Member {
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) -> Flight {
        Flight::new(&self.in_flight)
    }
}

/// See the [module](self).
pub(super) struct Members {
    breaker: breaker::Settings,
    known: ArcSwap<Known>,
    changing: Mutex<()>,
}

/// What was known when it was last looked at.
struct Known {
    watched: watch::Receiver<Instances>,
    instances: Instances,
    members: Arc<[Arc<Member>]>,
}

impl Known {
    fn is_outdated(&self) -> bool {
        // A registry that is gone has nothing new to say; what it said last stays.
        let gone = |_| !Arc::ptr_eq(&self.watched.borrow(), &self.instances);
        self.watched.has_changed().unwrap_or_else(gone)
    }
}

impl Members {
    pub(super) fn new(watched: watch::Receiver<Instances>, breaker: breaker::Settings) -> Self {
        let members = Self {
            breaker,
            known: ArcSwap::from_pointee(Known {
                watched,
                instances: Arc::from([]),
                members: Arc::from([]),
            }),
            changing: Mutex::new(()),
        };
        members.change();
        members
    }

    /// The members as they are now.
    pub(super) fn now(&self) -> Arc<[Arc<Member>]> {
        let known = self.known.load();
        if !known.is_outdated() {
            return known.members.clone();
        }
        drop(known);
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.known.load().is_outdated() {
            self.change();
        }
        self.known.load().members.clone()
    }

    fn change(&self) {
        let known = self.known.load();
        let mut watched = known.watched.clone();
        let instances = watched.borrow_and_update().clone();
        let members = instances
            .iter()
            .map(|instance| self.member(instance, &known.members))
            .collect();
        self.known.store(Arc::new(Known {
            watched,
            instances,
            members,
        }));
    }

    /// What was learned of an instance stays for as long as it stays where it is.
    fn member(&self, instance: &Arc<Instance>, known: &[Arc<Member>]) -> Arc<Member> {
        let same = |member: &&Arc<Member>| {
            member.instance.id == instance.id && member.instance.address == instance.address
        };
        let (breaker, in_flight) = match known.iter().find(same) {
            Some(member) => (member.breaker.clone(), Arc::clone(&member.in_flight)),
            None => {
                let name = format!("{} at {}", instance.service, instance.address);
                let breaker = Breaker::named(&name, self.breaker.clone());
                (breaker, Arc::default())
            }
        };
        Arc::new(Member {
            instance: Arc::clone(instance),
            breaker,
            in_flight,
        })
    }
}
